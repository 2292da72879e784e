"""Processes: the only file with fork, exec, kill, waitpid and prctl.

A process is addressed through a pidfd, which cannot come to mean another one, and which becomes readable at its death:
no polling, no signal to a stranger that got the number of a process that we have reaped.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_MADV_DONTNEED = 4

AVAILABLE = sys.platform == "linux" and hasattr(os, "pidfd_open") and hasattr(os, "memfd_create")
"""Whether this system has what a master needs."""

_AS_AN_INTERPRETER_STARTS = (signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE))
"""Signals that nobody can handle, or that Python itself ignores from its start on."""

TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)


def interpreter() -> list[str]:
    """Return the start of the command line of an interpreter like this one: with its flags."""
    import subprocess  # a quarter of a MiB that a master needs only when it starts one

    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *flags]


class ExitStatus(NamedTuple):
    """How a process ended: `code`, or `signal`, or neither if somebody else reaped it."""

    code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False

    @classmethod
    def of(cls, info: os.waitid_result) -> ExitStatus:
        if info.si_code == os.CLD_EXITED:
            return cls(code=info.si_status)
        return cls(signal=info.si_status)

    def __str__(self) -> str:
        if self.signal is not None:
            try:
                name = signal.Signals(self.signal).name
            except ValueError:
                name = f"signal {self.signal}"
            return f"killed by {name}" + (" (out of memory)" if self.out_of_memory else "")
        if self.code is not None:
            return f"exit code {self.code}"
        return "its exit status is unknown: somebody else reaped it"


class Process:
    """A child of ours: its pid, and the pidfd that becomes readable when it dies."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError if there is none."""
        self.pid = pid
        self._fd = os.pidfd_open(pid)
        self._reaped = False

    def fileno(self) -> int:
        return self._fd

    def kill(self, number: int) -> None:
        """Send a signal; nothing happens if the process is dead already."""
        if not self._reaped:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, number)

    def reap(self) -> ExitStatus | None:
        """Return how the process ended, once; None while it runs."""
        try:
            info = os.waitid(os.P_PIDFD, self._fd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            self._reaped = True
            return ExitStatus()
        if info is None:
            return None
        self._reaped = True
        return ExitStatus.of(info)

    def wait(self) -> None:
        """Wait for its end, and reap it."""
        if not self._reaped:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, self._fd, os.WEXITED)
            self._reaped = True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def exec_child(
    argv: Sequence[str], environ: Mapping[str, str], *, pass_fds: Sequence[int], blocked: Sequence[int] = ()
) -> int:
    """Start a program with these descriptors, under the same numbers, and no signal ignored; return its pid.

    `blocked`: signals that it may not hear of before it is ready for them, and unblocks itself.

    Not fork and exec: the caller may have threads, and between the two Python code could find any lock taken.
    """
    before = {fd: os.get_inheritable(fd) for fd in pass_fds}
    try:
        for fd in pass_fds:
            os.set_inheritable(fd, True)
        return os.posix_spawn(
            argv[0],
            list(argv),
            dict(environ),
            setsigmask=list(blocked),
            setsigdef=[number for number in signal.valid_signals() if number < signal.SIGRTMIN],
        )
    finally:
        for fd, inheritable in before.items():
            os.set_inheritable(fd, inheritable)


def fork_child(
    child: Callable[[], NoReturn], environ: Mapping[str, str], *, pass_fds: Sequence[int], blocked: Sequence[int] = ()
) -> int:
    """Fork a process that finds what `exec_child` would leave it, and the memory of this one; return its pid.

    For a caller without other threads, whose memory holds nothing that a program of its own would not have. `child` is
    called with no signal but these `blocked`, and must not return.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            try:
                _forget(environ, set(pass_fds))
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
                child()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def _forget(environ: Mapping[str, str], kept: set[int]) -> None:
    """Lose what an exec would lose: handlers, descriptors that are to be closed then, the main module."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if number < signal.SIGRTMIN and number not in _AS_AN_INTERPRETER_STARTS:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        with contextlib.suppress(OSError):  # the descriptor that this very list was read from
            if fd not in kept and not os.get_inheritable(fd):
                os.close(fd)
    if os.environ != environ:
        os.environ.clear()
        os.environ.update(environ)
    sys.modules["__main__"] = type(sys)("__main__")


def fork_adopted(child: Callable[[int], NoReturn]) -> int:
    """Fork a process that becomes a child of the nearest subreaper above; return its pid once it is adopted.

    A process between us and it forks it and ends, so that its real parent is gone (double fork). `child` runs in it
    with all signals blocked, and is given the pid of that process between. Raises OSError if a fork fails.
    """
    reader, writer = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        between = os.fork()
        if between == 0:
            _fork_and_end(child, writer)
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    with open(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(between, 0)
    if answer.startswith(b"-"):
        raise OSError(int(answer[1:]), os.strerror(int(answer[1:])))
    if not answer:
        raise ChildProcessError("the process that was to fork a worker was killed")
    return int(answer)


def _fork_and_end(child: Callable[[int], NoReturn], writer: int) -> NoReturn:
    try:
        between = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(writer)
            child(between)
        os.write(writer, str(pid).encode())
    except OSError as error:
        os.write(writer, f"-{error.errno}".encode())
    finally:
        os._exit(0)


def wait_for_adoption(between: int, master: int, *, timeout: float = 10.0) -> bool:
    """Wait until our parent is no longer `between`; return whether it is `master` now.

    There is no event for it; it takes a fraction of a millisecond, since `between` ends as soon as it has forked us.
    """
    deadline = time.monotonic() + timeout
    while os.getppid() == between and time.monotonic() < deadline:
        time.sleep(0.0002)
    return os.getppid() == master


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies. Ends it now if that has happened already.

    The flag is cleared by setuid, and fires when a process between us and the real parent ends: set it late.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


@contextlib.contextmanager
def subreaper() -> Iterator[None]:
    """Inside, orphans below this process become its children."""
    flag = ctypes.c_int()
    _libc().prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(flag), 0, 0, 0)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        _prctl(_PR_SET_CHILD_SUBREAPER, flag.value)


def dead_children() -> Iterator[int]:
    """Return the pids of children that are dead and not reaped; each must be reaped before the next is asked for."""
    seen = -1
    while True:
        try:
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if info is None or info.si_pid == seen:
            return
        seen = info.si_pid
        yield info.si_pid


def reap_stranger(pid: int) -> None:
    """Reap a child that we did not start: as PID 1, or as a subreaper, we inherit the orphans of the application."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def discard(pid: int) -> None:
    """Kill a child that cannot be watched, and wait for its end: the kernel sees to that in no time."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # none of ours: the number may be another's now
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED)


def trim() -> None:
    """Give back to the kernel what the allocator keeps of freed memory, where the C library can."""
    with contextlib.suppress(AttributeError):
        _libc().malloc_trim(0)


def return_memory() -> None:
    """Give back to the kernel what was needed to start, where the C library and the kernel can.

    That is what the allocator keeps of freed memory, and what was read of libraries once: the import of `ssl` walks
    through four megabytes of OpenSSL. What is needed again is mapped again from the page cache. It takes some
    milliseconds: for a process that has nothing else to do.
    """
    trim()
    libc = _libc()
    with contextlib.suppress(OSError, AttributeError), open("/proc/self/smaps") as maps:
        for start, end in _unchanged(maps):
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def return_zeros(thing: object) -> None:
    """Give back to the kernel the pages inside a large object of C code that hold zeros only; read again, they do so.

    uvloop's event loop contains a buffer of 250 KiB, which is cleared when the loop is made. Received octets go to its
    beginning. The caller sees to it that no thread writes into the object meanwhile.
    """
    page = mmap.PAGESIZE
    first = -(-id(thing) // page) * page
    size = (id(thing) + type(thing).__basicsize__ - first) // page * page
    if size <= 0 or sys.platform != "linux":
        return
    libc, zeros = _libc(), bytes(page)
    memory: Any = (ctypes.c_char * size).from_address(first)
    for offset in range(0, size, page):
        if memory[offset : offset + page] == zeros:
            libc.madvise(ctypes.c_void_p(first + offset), ctypes.c_size_t(page), _MADV_DONTNEED)


def _unchanged(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield where a file lies in memory as it is on disk (proc(5), smaps).

    What may be written to is none of it. Nor is data that the loader has relocated and made read-only then: it has
    pages without a file behind them, and would be lost.
    """
    start = end = 0
    for line in lines:
        key, _, rest = line.partition(" ")
        if not key.endswith(":"):
            access, _, _, _, *name = rest.split(maxsplit=4)
            is_a_file = "w" not in access and access.endswith("p") and bool(name) and name[0].startswith("/")
            start, end = (int(address, 16) for address in key.split("-")) if is_a_file else (0, 0)
        elif key == "Anonymous:" and end and rest.split()[0] == "0":
            yield start, end


class _Stack(ctypes.Structure):
    """stack_t of sigaltstack(2)."""

    _fields_: ClassVar = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


def widen_signal_stack() -> None:
    """Give signal handlers of this thread a stack that is large enough, where they have one of their own (Linux).

    faulthandler brings one of some 10 KB, and Python's handlers run on it too. Of signals that wait together the kernel
    enters each handler from inside the one before, a frame of some 2 to 11 KB each: several at once write over whatever
    lies below that stack. Of this one only the pages are used that are written to.
    """
    if sys.platform != "linux":
        return  # the order of the fields is another one there
    current = _Stack()
    libc = _libc()
    libc.sigaltstack(None, ctypes.byref(current))
    if current.flags & _SS_DISABLE or current.size >= _SIGNAL_STACK:
        return
    memory = mmap.mmap(-1, _SIGNAL_STACK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if libc.sigaltstack(ctypes.byref(_Stack(start, 0, _SIGNAL_STACK)), None) == 0:
        _signal_stacks.append(memory)  # for ever: nobody knows when the last handler runs


_SIGNAL_STACK = 1 << 20
"""Octets; more than 64 frames of the largest kind."""
_SS_DISABLE = 2
_signal_stacks: list[mmap.mmap] = []


def _prctl(option: int, value: int) -> None:
    if _libc().prctl(option, value, 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"prctl({option}, {value}): {os.strerror(errno)}")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)  # one for all: each makes classes of its own


# -- out of memory --

_CGROUP = "/sys/fs/cgroup"


def oom_kills() -> int | None:
    """Return how often the kernel has killed a process of our cgroup for want of memory; None if it does not say."""
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    candidates = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            candidates.append(f"{_CGROUP}{path}/memory.events")
        elif "memory" in controllers.split(","):
            candidates.append(f"{_CGROUP}/memory{path}/memory.oom_control")
    for name in candidates:
        try:
            with open(name) as file:
                for line in file:
                    key, _, value = line.partition(" ")
                    if key == "oom_kill":
                        return int(value)
        except (OSError, ValueError):
            continue
    return None
