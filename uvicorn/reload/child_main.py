"""The process that serves: it imports what it may in advance, waits for the word to go, and runs its job."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
from types import FrameType
from typing import Any, NoReturn

from uvicorn.errors import STARTUP_FAILURE
from uvicorn.manager import alone

from .link import HELD_BACK, Link
from .warm import Surroundings, import_all, installed_modules

SPOILT = 75
"""Exit status: what was imported in advance cannot be imported so, and another process must begin anew."""
_NOT_OURS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2) if hasattr(signal, "SIGHUP") else ()
"""Meant for the reloader, but a terminal and `pkill` send them to the whole family."""


def main(fd: int) -> None:
    for number in (*_NOT_OURS, signal.SIGINT):
        signal.signal(number, _nothing)
    signal.signal(signal.SIGTERM, _end_waiting)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
    link = Link.adopt(fd)
    prepare = link.wait()
    if prepare is None:
        os._exit(0)
    _end_with_parent(prepare["parent"])
    for listener in prepare["listeners"]:
        os.set_inheritable(listener, False)
    sys.argv[:] = prepare["argv"]
    os.environ.update(prepare["environ"])
    import_all(prepare["server"])
    alone.become(prepare)
    _end_with_parent(prepare["parent"])  # another user's process has forgotten it
    if not import_all(prepare["modules"]):
        os._exit(SPOILT)
    # What is here now stays. Collected while nobody waits, and then left alone, it costs the start of the app nothing.
    gc.collect()
    gc.freeze()
    order = link.wait()
    if order is None:
        os._exit(0)
    _run(prepare, order, link)


def _run(prepare: dict[str, Any], order: dict[str, Any], link: Link) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    sys.path[:] = prepare["sys_path"]
    importlib.invalidate_caches()  # directories may have been read before a file was added
    import uvicorn.main  # noqa: F401  (found by its name in sys.modules: the attribute is the command)

    surroundings = Surroundings()

    def on_ready() -> None:
        global _has_served
        _has_served = True
        modules = installed_modules() if surroundings.are_unchanged() else []
        link.send({"ready": os.getpid(), "modules": modules})

    from uvicorn.failures import describe

    from .jobs import load

    config = None
    sockets = [socket.socket(fileno=listener) for listener in prepare["listeners"]]
    try:
        config, target = load({**order, "on_ready": on_ready})
        target(sockets=sockets)
    except KeyboardInterrupt:
        sys.exit(0)
    except Exception as error:
        text = describe(config, error)
        if text is None:
            raise
        import logging

        logging.getLogger("uvicorn.error").error("%s", text)
        sys.exit(STARTUP_FAILURE)
    finally:
        # It ends now: a signal that comes late must not break into what runs at exit.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _nothing)


def _nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal by not dying of it. A function, since SIG_IGN would be inherited by what the app starts."""


def _end_waiting(number: int, frame: FrameType | None) -> NoReturn:
    """End at once: nothing of the user's has run."""
    os._exit(0)


_has_served = False
"""The server has told that it is ready: from then on signals are its matter, and its end is ours."""


def _leave(number: int, frame: FrameType | None) -> None:
    """End as at the end of a program: what the application registered with atexit runs.

    Not once there was a server: a signal that comes when that has given the handlers back, or that it raises again,
    would only break into the end of the event loop.
    """
    if not _has_served:
        raise SystemExit(0)


def _end_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        from uvicorn.manager.process import die_with_parent

        die_with_parent(parent)
