import signal
import socket
import sys
import textwrap

import pytest

from tests.support.processes import Running, free_port, in_environment, is_alive

PYTHON = [sys.executable, "-c"]


def python(source, cwd, **kw):
    return Running(textwrap.dedent(source), cwd=cwd, command=PYTHON, **kw)


def test_free_ports_differ_and_can_be_bound():
    ports = {free_port() for _ in range(20)}
    assert len(ports) == 20
    for port in ports:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections may linger
            sock.bind(("127.0.0.1", port))


def test_the_environment_leaves_out_what_changes_settings(monkeypatch):
    monkeypatch.setenv("UVICORN_PORT", "1")
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    assert "UVICORN_PORT" not in in_environment()
    assert "WEB_CONCURRENCY" not in in_environment()
    assert in_environment(UVICORN_PORT="3")["UVICORN_PORT"] == "3"


def test_output_is_merged_and_apart(tmp_path):
    with python("import sys; print('out', flush=True); print('err', file=sys.stderr)", tmp_path) as running:
        assert running.wait() == 0
        running.wait_for("^out$")
        running.wait_for("^err$")
        assert running.stdout == "out\n"
        assert running.stderr == "err\n"
        assert sorted(running.log.splitlines()) == ["err", "out"]


def test_waiting_for_the_nth_match_and_for_one_after_a_mark(tmp_path):
    source = "import sys\nfor line in sys.stdin: print('got', line, end='', flush=True)"
    with python(source, tmp_path, stdin=-1) as running:
        running.process.stdin.write(b"1\n2\n")
        running.process.stdin.flush()
        assert running.wait_for(r"got (\d)", count=2)[1] == "2"
        mark = len(running.log)
        running.process.stdin.write(b"3\n")
        running.process.stdin.close()
        assert running.wait_for(r"got (\d)", after=mark)[1] == "3"


def test_a_failed_wait_shows_the_whole_log(tmp_path):
    with python("print('something else')", tmp_path) as running:
        running.wait()
        with pytest.raises(AssertionError, match=r"'never' came 0 of 1 times before it ended(.|\n)*something else"):
            running.wait_for("never", timeout=60)


def test_a_failed_wait_ends_at_its_deadline(tmp_path):
    with python("import time; print('up', flush=True); time.sleep(60)", tmp_path) as running:
        running.wait_for("up")
        with pytest.raises(AssertionError, match=r"in 0.1 s(.|\n)*up"):
            running.wait_for("never", timeout=0.1)


def test_an_error_inside_the_context_carries_the_log(tmp_path):
    def fail_while_it_runs():
        with python("import time; print('up', flush=True); time.sleep(60)", tmp_path) as running:
            running.wait_for("up")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        fail_while_it_runs()
    assert "up" in "".join(caught.value.__notes__)


def test_an_exit_status_is_that_of_subprocess(tmp_path):
    with python("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", tmp_path) as running:
        assert running.wait() == -signal.SIGTERM


ORPHANS = """
    import os, subprocess, sys, time
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    if os.fork() == 0:
        os.setsid()                     # a daemon: another session, and no parent of ours
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
    os.wait()
    subprocess.Popen(sleeper)                                  # a child
    silent = subprocess.DEVNULL                                # nobody finds it once we are gone: it may hold no pipe
    subprocess.Popen(sleeper, env={}, start_new_session=True, stdout=silent, stderr=silent)  # a child without our mark
    print("started", flush=True)
    if len(sys.argv) > 1:
        sys.exit(0)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_descendants_are_found_wherever_they_went(tmp_path):
    with python(ORPHANS, tmp_path) as running:
        running.wait_for("started")
        found = running.wait_for_descendants(3)
        assert running.pid not in found
        assert running.tree() == sorted([running.pid, *found])
    assert not any(is_alive(pid) for pid in [running.pid, *found])


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_outlives_its_parent_fails_the_test_and_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(Running, "GRACE", 0.5)
    running = Running(textwrap.dedent(ORPHANS), "leave", cwd=tmp_path, command=PYTHON)
    running.wait_for("started")
    assert running.wait() == 0
    found = running.descendants()
    assert found
    with pytest.raises(AssertionError, match="outlived its parent"):
        running.close()
    assert running.tree() == []


def test_port_and_address_come_from_the_arguments(tmp_path):
    with Running("--port", 1234, cwd=tmp_path, command=[*PYTHON, ""]) as running:
        assert running.port == 1234
        assert running.address == ("127.0.0.1", 1234)
    with Running("--uds=/x.sock", cwd=tmp_path, command=[*PYTHON, ""]) as running:
        assert running.address == "/x.sock"


def test_a_port_chosen_by_the_kernel_is_read_from_the_log(tmp_path):
    source = "print('Uvicorn running on http://127.0.0.1:4321 (Press CTRL+C to quit)')"
    with Running("--port", "0", cwd=tmp_path, command=[*PYTHON, source]) as running:
        running.wait_for("running on")
        assert running.port == 4321
