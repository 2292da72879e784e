"""Which signal tells the master what, and how it hears of it.

A handler may run between any two bytecodes, so it does nothing: the C code of Python writes the number of the signal
to a socket, and the master's loop reads it there like everything else it waits for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from enum import Enum
from types import FrameType
from typing import NamedTuple


class Command(Enum):
    STOP = "stop"
    STOP_FAST = "stop fast"
    RELOAD = "reload"
    MORE = "one worker more"
    LESS = "one worker less"
    REAP = "reap"
    REOPEN = "reopen log files"
    RETIRE_ALL = "retire all workers"
    UPGRADE = "upgrade in place"
    DUMP = "log all stacks"


class Meaning(NamedTuple):
    command: Command
    doc: str
    """For docs/signals.md, which is generated from this table."""


COMMANDS: Mapping[signal.Signals, Meaning] = {
    signal.SIGTERM: Meaning(
        Command.STOP,
        "Stop slowly: accept what waits, finish all requests within `--timeout-graceful-shutdown` (30 s), end. "
        "Sending it again changes nothing.",
    ),
    signal.SIGINT: Meaning(
        Command.STOP, "Stop slowly, as SIGTERM. A second SIGINT ends everything at once (Ctrl-C twice)."
    ),
    signal.SIGQUIT: Meaning(
        Command.STOP_FAST, "Stop fast: requests in progress are cancelled; lifespan shutdown still runs."
    ),
    signal.SIGHUP: Meaning(
        Command.RELOAD,
        "Rolling restart: settings, env file and code are read again; each worker is replaced once its successor "
        "serves. If the new code does not start, the old workers stay.",
    ),
    signal.SIGTTIN: Meaning(Command.MORE, "One worker more."),
    signal.SIGTTOU: Meaning(Command.LESS, "One worker less, down to one."),
    signal.SIGUSR1: Meaning(Command.REOPEN, "Open the log files again, here and in all workers (for logrotate)."),
    signal.SIGUSR2: Meaning(
        Command.UPGRADE,
        "Upgrade in place: run the code of the server that is on disk now, with the same process id and sockets; then "
        "a rolling restart. If the new code does not start, nothing happens.",
    ),
    signal.SIGWINCH: Meaning(
        Command.RETIRE_ALL,
        "Retire all workers and keep the master with its sockets; SIGHUP brings them back. Not on a terminal, where it "
        "only means that the window was resized.",
    ),
    signal.SIGCHLD: Meaning(Command.REAP, "Sent by the kernel when a child ends."),
}

if hasattr(signal, "SIGPWR"):
    COMMANDS = {
        **COMMANDS,
        signal.SIGPWR: Meaning(
            Command.DUMP, "Log how the server and each worker fare; the stacks of all threads, and the requests inside."
        ),
    }

FOR_THE_MASTER = tuple(
    number
    for number in (
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGWINCH,
        getattr(signal, "SIGPWR", None),
    )
    if number is not None
)
"""Signals that workers take without doing anything: `pkill -HUP` and a terminal send them to the whole family."""

OF_THE_FAMILY = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, *FOR_THE_MASTER)
"""Signals that a terminal or a process manager sends to all of us; a template ignores them."""


def nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal by not dying of it. A function, since SIG_IGN would be inherited by what the app starts."""


class Inbox:
    """The signals of this process, as something that can be waited for."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def read(self) -> list[signal.Signals]:
        """Return the signals that came since the last call, in their order."""
        try:
            numbers = self._reader.recv(4096)
        except BlockingIOError:
            return []
        return [signal.Signals(number) for number in numbers if number]

    def wake(self) -> None:
        """Let the loop turn once. For any thread, and for signal handlers."""
        with contextlib.suppress(OSError):  # it is full, so the loop will turn; or closed
            self._writer.send(b"\0")

    @contextlib.contextmanager
    def listening(self, numbers: Iterator[signal.Signals] | tuple[signal.Signals, ...]) -> Iterator[None]:
        """Take these signals inside; afterwards everything is as it was. Only in the main thread (ValueError)."""
        wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        before = {}
        try:
            for number in numbers:
                before[number] = signal.signal(number, nothing)
            yield
        finally:
            for number, handler in before.items():
                # None: it was set by C code, and Python cannot set it again.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


def has_terminal() -> bool:
    """Say whether this process was started on a terminal that is still there."""
    try:
        if not os.isatty(0):
            return False
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
