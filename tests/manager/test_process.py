"""Real processes, one at a time. The adopted ones need a subreaper, which is set for a child interpreter only."""

import os
import select
import signal
import subprocess
import sys
import textwrap

import pytest

from uvicorn.manager.process import ExitStatus, Process, _unchanged, exec_child, oom_kills


def spawn(code: str) -> Process:
    return Process(exec_child([sys.executable, "-c", code], dict(os.environ), pass_fds=[]))


def ended(process: Process) -> ExitStatus:
    readable, _, _ = select.select([process], [], [], 60)
    assert readable, "a dead process makes its pidfd readable"
    status = process.reap()
    process.close()
    assert status is not None
    return status


def test_an_exit_code_is_told():
    assert str(ended(spawn("raise SystemExit(7)"))) == "exit code 7"


def test_a_signal_is_told_by_name():
    process = spawn("import time; time.sleep(60)")
    assert process.reap() is None
    process.kill(signal.SIGKILL)
    assert str(ended(process)) == "killed by SIGKILL"


def test_a_process_that_somebody_else_reaped_is_over_too():
    process = spawn("")
    os.waitpid(process.pid, 0)
    assert "unknown" in str(ended(process))


def test_a_dead_process_is_never_signalled():
    process = spawn("")
    ended(process)
    process.kill(signal.SIGKILL)


def test_out_of_memory_is_said():
    assert str(ExitStatus(signal=9, out_of_memory=True)) == "killed by SIGKILL (out of memory)"
    assert str(ExitStatus(signal=64)) in ("killed by SIGRTMAX", "killed by signal 64")


def test_the_count_of_memory_kills_is_a_number_or_nothing():
    assert oom_kills() is None or oom_kills() >= 0


def test_a_child_starts_with_no_signal_ignored_or_blocked():
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        process = spawn(
            "import signal; assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL;"
            "assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())"
        )
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert ended(process).code == 0


def test_passed_descriptors_keep_their_number_and_stay_closed_on_exec_here():
    reader, writer = os.pipe()
    process = Process(
        exec_child([sys.executable, "-c", f"import os; os.write({writer}, b'x')"], dict(os.environ), pass_fds=[writer])
    )
    assert ended(process).code == 0
    assert os.read(reader, 1) == b"x"
    assert not os.get_inheritable(writer)
    os.close(reader)
    os.close(writer)


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_worker_is_adopted_by_the_subreaper():
    out = run(
        """
        import os
        from uvicorn.manager.process import fork_adopted, subreaper, wait_for_adoption
        me = os.getpid()
        with subreaper():
            template = os.fork()
            if template == 0:
                def child(between):
                    os.write(1, b"adopted" if wait_for_adoption(between, me) else b"stray")
                    os._exit(5)
                pid = fork_adopted(child)
                os.write(1, f" {pid} ".encode())
                os._exit(0)
            os.waitpid(template, 0)
            pid, status = os.wait()
            print(pid, os.waitstatus_to_exitcode(status))
        """
    )
    assert "adopted" in out
    assert out.split()[-1] == "5"


def test_who_asked_to_die_with_its_parent_does():
    out = run(
        """
        import os, signal, time
        from uvicorn.manager.process import die_with_parent, subreaper
        with subreaper():
            reader, writer = os.pipe()
            parent = os.fork()
            if parent == 0:
                me = os.getpid()
                if os.fork() == 0:
                    die_with_parent(me)
                    os.write(writer, b"x")
                    time.sleep(60)
                os.read(reader, 1)
                os._exit(0)
            os.waitpid(parent, 0)
            pid, status = os.wait()
            print(os.waitstatus_to_exitcode(status))
        """
    )
    assert out.strip() == "-9"


def test_the_subreaper_flag_is_restored():
    assert run(
        """
        import ctypes
        from uvicorn.manager.process import subreaper
        def flag():
            value = ctypes.c_int()
            ctypes.CDLL(None).prctl(37, ctypes.byref(value), 0, 0, 0)
            return value.value
        with subreaper():
            print(flag())
        print(flag())
        """
    ).split() == ["1", "0"]


def test_there_is_no_process_without_a_pid():
    process = spawn("")
    pid = process.pid
    ended(process)
    with pytest.raises(ProcessLookupError):
        Process(pid)


# -- memory --

SMAPS = """\
7f0000000000-7f0000004000 r--p 00000000 fe:01 11  /usr/lib/libx.so
Rss:                  16 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
7f0000004000-7f0000008000 r-xp 00004000 fe:01 11  /usr/lib/libx.so
Anonymous:             0 kB
7f0000008000-7f000000c000 r--p 00008000 fe:01 11  /usr/lib/libx.so (deleted)
Anonymous:             0 kB
7f000000c000-7f0000010000 r--p 0000c000 fe:01 11  /usr/lib/libx.so
Anonymous:             4 kB
7f0000010000-7f0000014000 rw-p 00010000 fe:01 11  /usr/lib/libx.so
Anonymous:             0 kB
7f0000014000-7f0000018000 r--s 00000000 fe:01 12  /dev/shm/shared
Anonymous:             0 kB
7f0000018000-7f000001c000 r--p 00000000 00:00 0
Anonymous:             0 kB
7f000001c000-7f0000020000 r-xp 00000000 00:00 0  [vdso]
Anonymous:             0 kB
"""


def test_only_what_is_on_disk_as_it_is_in_memory_is_dropped():
    assert [hex(start) for start, _ in _unchanged(SMAPS.splitlines())] == [
        "0x7f0000000000",
        "0x7f0000004000",
        "0x7f0000008000",
    ]
    assert {end - start for start, end in _unchanged(SMAPS.splitlines())} == {0x4000}


def test_a_process_that_has_returned_memory_works_on():
    program = """
        import asyncio, ssl
        from uvicorn.manager.process import return_memory
        def mapped():
            with open("/proc/self/smaps_rollup") as file:
                return next(int(line.split()[1]) for line in file if line.startswith("Rss:"))
        before = mapped()
        return_memory()
        assert mapped() < before
        ssl.create_default_context()
        asyncio.run(asyncio.sleep(0))
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr


# Of an object of C code: how much lies in memory (proc(5), pagemap: bit 63 of a page's entry), and what it holds, but
# for its beginning, where Python counts its references.
LOOP = """
    import asyncio, ctypes, mmap
    from uvicorn.manager.process import return_zeros

    def present(thing):
        first, last = id(thing) // mmap.PAGESIZE, (id(thing) + type(thing).__basicsize__) // mmap.PAGESIZE
        with open("/proc/self/pagemap", "rb") as file:
            file.seek(first * 8)
            entries = memoryview(file.read((last - first + 1) * 8)).cast("Q")
        return sum(entry >> 63 for entry in entries) * mmap.PAGESIZE

    def content(thing):
        return ctypes.string_at(id(thing) + 64, type(thing).__basicsize__ - 64)

    async def echo(octets):
        received = asyncio.get_running_loop().create_future()
        async def answer(reader, writer):
            received.set_result(await reader.read())
            writer.close()
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(octets)
            writer.write_eof()
            answer = await received
            writer.close()
        return answer

    DATA = bytes(range(1, 256)) * 8000
"""


def test_the_empty_buffer_of_uvloop_is_given_back_and_takes_what_is_received():
    pytest.importorskip("uvloop")
    run(
        textwrap.dedent(LOOP)
        + textwrap.dedent(
            """
            import uvloop
            loop = uvloop.new_event_loop()
            before, held = present(loop), content(loop)
            return_zeros(loop)
            assert present(loop) <= before - 200 * 1024, (present(loop), before)
            assert content(loop) == held
            for _ in range(2):
                assert loop.run_until_complete(echo(DATA)) == DATA
                held = content(loop)
                return_zeros(loop)  # its buffer holds something now
                assert content(loop) == held
            loop.close()
            """
        )
    )


def test_of_the_loop_of_asyncio_nothing_is_given_back():
    run(
        textwrap.dedent(LOOP)
        + textwrap.dedent(
            """
            from uvicorn.manager import process
            process._libc = None  # what gives back calls it
            loop = asyncio.new_event_loop()
            return_zeros(loop)
            assert loop.run_until_complete(echo(DATA)) == DATA
            loop.close()
            """
        )
    )
