"""The end of what tests have started, where whoever runs them was killed before it could see to that.

A process beside it, this file as a script, reads from a pipe that only the one who runs the tests holds open: `PID` of
a command that has started, `-PID` when all of it is gone. At the end of the pipe it kills what is left: the sessions of
these commands, and whatever carries their mark. (Neither is enough: a process may begin another session, and one that
writes its title overwrites its environment.) Linux only.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

MARK = "TEST_PROCESS_TREE"
"""The environment variable that a started command carries: the mark of who started it, a dot, and one of its own."""

_RUN = uuid.uuid4().hex
_guard: subprocess.Popen[bytes] | None = None


def new_mark() -> str:
    """Return the value of `MARK` for another command."""
    return f"{_RUN}.{uuid.uuid4().hex}"


def has_started(pid: int) -> None:
    """A command runs, in a session of its own."""
    global _guard
    if sys.platform != "linux":
        return
    if _guard is None:
        environment = {name: value for name, value in os.environ.items() if name != MARK}
        command = [sys.executable, "-I", "-S", __file__, f"{MARK}={_RUN}."]
        _guard = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # a pipe of ours that others read would not end with us
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        atexit.register(_dismiss, os.getpid())
    _tell(pid)


def has_ended(pid: int) -> None:
    """Nothing is left of a command."""
    _tell(-pid)


def _tell(number: int) -> None:
    if _guard is not None:
        assert _guard.stdin is not None
        with suppress(BrokenPipeError):  # somebody has killed it: the tests can do without
            os.write(_guard.stdin.fileno(), b"%d\n" % number)


def _dismiss(pid: int) -> None:
    if _guard is not None and os.getpid() == pid:  # not where it is only the memory of a fork
        assert _guard.stdin is not None
        _guard.stdin.close()
        _guard.wait()


def _left(sessions: set[int], mark: bytes) -> set[int]:
    left = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, *numbers = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            variables = Path("/proc", name, "environ").read_bytes().split(b"\0")
        except OSError:  # gone, or of another user
            continue
        if state not in "ZX" and (int(numbers[2]) in sessions or any(one.startswith(mark) for one in variables)):
            left.add(int(name))
    return left


def _main(mark: bytes) -> None:
    sessions = set()
    for line in sys.stdin.buffer:
        pid = int(line)
        if pid > 0:
            sessions.add(pid)
        else:
            sessions.discard(-pid)
    deadline = time.monotonic() + 60
    while (left := _left(sessions, mark)) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


if __name__ == "__main__":
    _main(sys.argv[1].encode())
