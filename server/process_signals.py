"""The signals of a process that is nothing but one server: SIGHUP and SIGQUIT, besides those that stop it.

A program that embeds a server keeps them for itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lifecycle import Server

logger = logging.getLogger("uvicorn.error")


def whole_process_handlers(server: Server) -> dict[int, Any]:
    """Return the handlers to set: SIGHUP is ignored with a line that says why, SIGQUIT stops without grace.

    A hangup because the terminal has gone stops the server, as it stops other programs; under nohup nothing changes.
    """
    on_terminal = _stdin_is_a_terminal()

    def hang_up(sig: int, frame: FrameType | None) -> None:
        if on_terminal and not _terminal_opens():
            server.handle_exit(signal.SIGTERM, frame)
        else:
            # Not here: a handler that logs may find the log's lock taken by what it interrupted.
            server.call_soon(_log_hangup)

    def quit_now(sig: int, frame: FrameType | None) -> None:
        server.stop_now()

    handlers: dict[int, Any] = {}
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers[signal.SIGHUP] = hang_up
    if hasattr(signal, "SIGQUIT"):
        handlers[signal.SIGQUIT] = quit_now
    return handlers


def _stdin_is_a_terminal() -> bool:
    with contextlib.suppress(AttributeError, ValueError, OSError):  # no stdin, or a closed one
        return sys.stdin.isatty()
    return False


def _terminal_opens() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _log_hangup() -> None:
    logger.info(
        "Received SIGHUP, ignored: a single process cannot replace itself (--manager or --workers makes one that can)."
    )
