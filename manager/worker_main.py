"""A worker, from its fork on: become a process of its own, load the application, serve, report."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import traceback
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from uvicorn import log_config
from uvicorn.errors import STARTUP_FAILURE, UsersError
from uvicorn.importer import ImportFromStringError

from . import signals, titles, witness
from .channel import Channel
from .messages import Booting, Failed, Fork
from .process import die_with_parent, wait_for_adoption
from .recipe import Recipe, load_config
from .scoreboard import Scoreboard
from .voice import Voice

if TYPE_CHECKING:
    from uvicorn.config import Config

NOT_OURS = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
"""Variables that speak to the first process of a service; a worker, or what it starts, must not answer to them."""

logger = logging.getLogger("uvicorn.error")


def run(recipe: Recipe, config: Config | None, fork: Fork, channel: Channel, dump_fd: int, between: int) -> NoReturn:
    """Be the worker. Called in the new process, with all signals blocked. `config` is loaded, or None: not here yet."""
    status = 1
    try:
        _become_a_worker(recipe, fork, channel, between)
        witness.install(dump_fd)
        status = _serve(recipe, config, fork, channel, dump_fd)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        # Not sys.exit: the stack below us is the template's, and its clean-up is not for us to run.
        _run_exit_handlers()
        os._exit(status & 0xFF)


def _become_a_worker(recipe: Recipe, fork: Fork, channel: Channel, between: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in signals.OF_THE_FAMILY:
        # The template ignores them. What the application has set at its import, there, is left alone.
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signals.nothing if number in signals.FOR_THE_MASTER else signal.SIG_DFL)
    for name in NOT_OURS:
        os.environ.pop(name, None)
    os.environ["UVICORN_WORKER"] = log_config.worker = str(fork.slot)
    log_config.number_records()
    titles.set_title(f"worker {fork.slot}", recipe.name)
    if not wait_for_adoption(between, recipe.master):
        os._exit(0)
    die_with_parent(recipe.master)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    channel.send(Booting(os.getpid()))


def _serve(recipe: Recipe, config: Config | None, fork: Fork, channel: Channel, dump_fd: int) -> int:
    voice = Voice(recipe.voice)
    try:
        if config is None or not config.loaded:
            config = load(recipe, config)
    except SystemExit as error:
        channel.send(Failed("the application could not be loaded"))
        return error.code if isinstance(error.code, int) and error.code else STARTUP_FAILURE
    except BaseException as error:
        if voice.is_ours():
            print_failure(error)
        channel.send(Failed(f"{type(error).__name__}: {error}".rstrip(": ")))
        return STARTUP_FAILURE
    from .worker_server import WorkerServer  # only now: the master, which holds this module too, does not serve

    server = WorkerServer(config, channel, voice, Scoreboard(recipe.board), fork.row)
    witness.answer_with_requests_of(server, dump_fd)
    server.sockets_stay = recipe.listeners_stay
    sockets = [socket.socket(fileno=fd) for fd in recipe.listeners]
    # From here on a stop signal is an orderly drain, also when it comes before the server has set its own handlers;
    # and the server raises the signals that it caught once more when it is done.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, server.early_exit)
    try:
        server.run(sockets=sockets)
    except SystemExit as error:
        if not server.started:
            channel.send(Failed("lifespan startup failed"))
        return error.code if isinstance(error.code, int) else STARTUP_FAILURE
    except UsersError as error:  # the event loop that was asked for
        if voice.is_ours():
            print_failure(error)
        channel.send(Failed(str(error)))
        return STARTUP_FAILURE
    finally:
        server.pulse.beat()  # what it has answered since the last one
    return 0


def load(recipe: Recipe, config: Config | None = None) -> Config:
    """Make the Config, unless it was made while that needed root, and import the application."""
    voice_filter = Voice(recipe.voice)
    config = config or load_config(recipe)
    logger.addFilter(voice_filter)
    try:
        config.load()
    finally:
        logger.removeFilter(voice_filter)
    return config


def print_failure(error: BaseException) -> None:
    """Log the one line of a user's mistake; print the traceback of the rest, from the user's first line on.

    Our own calls below it would only be in the way.
    """
    if isinstance(error, (UsersError, ImportFromStringError)):
        from uvicorn.failures import report

        report(error)
        return
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and _is_ours(frames.tb_frame):
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames)


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return name.startswith(("uvicorn.", "importlib")) or name in ("uvicorn", "runpy", "multiprocessing.spawn")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass


def _run_exit_handlers() -> None:
    """Do what the interpreter does at its end: wait for the application's threads, call what it gave to atexit."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    _flush()
