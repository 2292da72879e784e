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
    if server.config.shutdown_delay > 0:
        handlers[signal.SIGTERM] = DelayedStop(server)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers[signal.SIGHUP] = hang_up
    if hasattr(signal, "SIGQUIT"):
        handlers[signal.SIGQUIT] = quit_now
    return handlers


class DelayedStop:
    """Handles SIGTERM by stopping later: until then load balancers hear of the end, and all is served."""

    def __init__(self, server: Server) -> None:
        self._server = self.__self__ = server  # packages find the server by its handler
        self._delay: float = server.config.shutdown_delay
        self._waiting = False

    def __call__(self, sig: int, frame: FrameType | None) -> None:
        if self._server.should_exit or not self._server.started:
            self._server.handle_exit(sig, frame)
        elif not self._waiting:
            self._waiting = True
            self._server.call_soon(lambda: self._wait(sig))

    def _wait(self, sig: int) -> None:
        import asyncio  # not above: the reloader uses this module too

        logger.info("Received SIGTERM, exiting in %g s; until then all is served.", self._delay)
        asyncio.get_running_loop().call_later(self._delay, self._stop, sig)

    def _stop(self, sig: int) -> None:
        if not self._server.should_exit:  # SIGINT does not wait
            self._server.handle_exit(sig, None)


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
