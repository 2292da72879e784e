"""Replacing the code of the master itself, in place: same process id, same sockets, same children.

execve keeps the process: its children, its subreaper flag, its pid in the pid file and at the service manager. What the
next program needs to know is written to a file without a name (`succession`); the descriptors that it needs are left
open. Before that, a child that runs the new code reads the same document, and says whether it starts. Bytes that wait
in channels, and children that die meanwhile, wait for the next program in the kernel.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .loop import Loop, Rank
from .process import Process, exec_child, interpreter
from .signals import OF_THE_FAMILY

TIME_TO_START = 60.0
"""Seconds that new code may take to say whether it starts."""

logger = logging.getLogger("uvicorn.error")

# As for templates: where the application's modules lie is searched last. What is called here, with what argument, is
# what every later version has to offer to this one.
_PATHS = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; import json; "
    "paths, late = json.loads(sys.argv[1]); "
    "sys.path[:] = [path for path in paths if path not in late] + [path for path in paths if path in late]; "
)
PREFLIGHT = _PATHS + "from uvicorn.manager import upgrade; upgrade.preflight(int(sys.argv[2]))"
RESUME = _PATHS + "from uvicorn.manager import upgrade; sys.exit(upgrade.resume(int(sys.argv[2])))"


def command(program: str, paths: Sequence[Sequence[str]], number: int) -> list[str]:
    """Return the command line that runs one of the programs above; `number` is the descriptor of the document."""
    return [*interpreter(), "-c", program, json.dumps(paths), str(number)]


def written(state: Mapping[str, Any]) -> int:
    """Return the descriptor of a file without a name that holds the document."""
    fd = os.memfd_create("uvicorn-state")
    os.write(fd, json.dumps(state).encode())
    return fd


def read(fd: int) -> dict[str, Any]:
    """Return the document that `fd` holds, and close it."""
    with open(fd, "rb") as file:
        file.seek(0)
        state: dict[str, Any] = json.loads(file.read())
    return state


def preflight(fd: int) -> None:
    """Exit with 0 if this code, in a child of a master of other code, can take over the document that `fd` holds."""
    import uvicorn.sources  # noqa: F401
    from uvicorn.manager import master, succession, template, worker_main  # noqa: F401

    succession.try_out(read(fd))


class Preflight:
    """A child that tries the new code, before we become it."""

    def __init__(self, loop: Loop, environ: Mapping[str, str], then: Callable[[], None]) -> None:
        self._loop = loop
        self._environ = environ
        self._then = then
        self._child: Process | None = None
        self.wanted = False
        """Somebody has asked for an upgrade that has not begun."""
        self.wake_at = math.inf
        """When the child is killed."""

    def begin(self, paths: Sequence[Sequence[str]], state: Mapping[str, Any]) -> None:
        """Start the child; `then` is called if it ends well. One at a time."""
        self.wanted = False
        if self._child is None:
            try:
                self._child = self._start(paths, state)
            except OSError as error:  # the interpreter is gone; no process, no descriptor to be had
                logger.error("Cannot upgrade: %s; going on as before", error)
                return
            self.wake_at = time.monotonic() + TIME_TO_START
            self._loop.watch(self._child, Rank.DEATHS, self._ended)

    def _start(self, paths: Sequence[Sequence[str]], state: Mapping[str, Any]) -> Process:
        fd = written(state)
        try:
            argv = command(PREFLIGHT, paths, fd)
            return Process(exec_child(argv, self._environ, pass_fds=[fd], blocked=OF_THE_FAMILY))
        finally:
            os.close(fd)

    def tick(self, now: float) -> None:
        """Kill a child whose time is over."""
        if now >= self.wake_at and self._child is not None:
            self.wake_at = math.inf
            self._child.kill(signal.SIGKILL)

    def _ended(self) -> None:
        assert self._child is not None
        status = self._child.reap()
        if status is None:
            return
        self._loop.unwatch(self._child)
        self._child.close()
        self._child = None
        in_time, self.wake_at = self.wake_at < math.inf, math.inf
        if status.code == 0:
            self._then()
        else:
            why = status if in_time else f"not within {TIME_TO_START:g} s"
            logger.error("Cannot upgrade: the new code does not start (%s); going on as before", why)


def execute(state: Mapping[str, Any], paths: Sequence[Sequence[str]], environ: Mapping[str, str]) -> None:
    """Become the new code. Returns only if that fails, with everything as it was; then it has logged why."""
    try:
        _execute(state, paths, environ)
    except OSError as error:
        logger.error("Cannot upgrade: %s; going on as before", error)


def _execute(state: Mapping[str, Any], paths: Sequence[Sequence[str]], environ: Mapping[str, str]) -> None:
    fd = written(state)
    kept = [*state["fds"], fd]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        for one in kept:
            os.set_inheritable(one, True)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, command(RESUME, paths, fd), dict(environ))
    finally:
        for one in kept:
            os.set_inheritable(one, False)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(fd)


def resume(fd: int) -> int:
    """Be the master whose document `fd` holds; return the exit code."""
    import contextlib

    from . import succession
    from .master import Master
    from .pidfile import PidFile
    from .process import subreaper

    state = read(fd)
    for one in state["fds"]:
        os.set_inheritable(one, False)
    sys.argv[:] = state["argv"]
    source = succession.source_of(state)
    with contextlib.ExitStack() as stack:
        pid_file = None
        if state["pid_file"] is not None:
            pid_file = PidFile.adopt(*state["pid_file"])
            stack.callback(pid_file.close)
        listeners = succession.listeners_of(state)
        for listener in listeners:
            stack.callback(listener.close)
        stack.enter_context(subreaper())
        return Master(source, listeners, hosted=False, pid_file=pid_file, state=state).run()
