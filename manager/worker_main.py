"""A worker, from its fork on: become a process of its own, load the application, serve, report."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import sys
import traceback
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from uvicorn import log_config
from uvicorn.errors import STARTUP_FAILURE, UsersError
from uvicorn.importer import ImportFromStringError

from . import logs, signals, titles, witness
from .balance import Balance, Connections
from .channel import Channel
from .liveness import Thresholds
from .messages import (
    Booting,
    Cancel,
    Closed,
    Failed,
    Force,
    Fork,
    Leaving,
    Ready,
    Reopen,
    Retire,
    Starting,
    Stop,
    Stopping,
    Unfit,
)
from .process import die_with_parent, wait_for_adoption
from .pulse import Pulse
from .recipe import Recipe, load_config
from .scoreboard import Scoreboard

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
    random.seed()  # else all workers would draw what the template would have drawn
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
    server = worker_server(config, channel, voice, Scoreboard(recipe.board), fork.row)
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


class Voice:
    """Who speaks when several workers fail for the same reason: one.

    A pipe that all workers of a generation share holds one byte; who reads it may log errors until it is ready. As a
    filter of a logger it passes everything below ERROR, and errors only for the one.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ours: bool | None = None

    def is_ours(self) -> bool:
        if self._ours is None:
            try:
                self._ours = bool(os.read(self._fd, 1))
            except OSError:
                self._ours = False
        return self._ours

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR or self.is_ours()


def worker_server(config: Config, channel: Channel, voice: Voice, board: Scoreboard, row: int) -> Any:
    from uvicorn.server import Server

    score = board.writer(row)

    class WorkerServer(Server):
        """A server that reports to the master and takes its commands."""

        def __init__(self, config: Config) -> None:
            super().__init__(config)
            self.told = False
            """It drains: by a command of the master's, or by a signal."""
            self._unasked = False
            """By a signal."""
            self._stop_ordered = False
            """The master wants everything to end, not only this worker."""
            self.on_ready = self._report_ready
            self.on_accept_stopped = self._report_closed
            self.heartbeat_period = Thresholds.of_config(config).period
            self.pulse = Pulse(score, self.server_state, self.heartbeat_period)
            self.on_heartbeat = self.pulse.beat
            if config.workers > 1:
                self.accept_gate = balance = Balance(board, row, self._count_connections)
                self.server_state.connections = Connections(balance.ended)
            # The limit is not an end: it asks the master for a successor. The server itself knows none.
            limit = self.limit_max_requests
            self.limit_max_requests = None
            self._requests_before_retirement = limit

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            self._loop = asyncio.get_running_loop()
            channel.setblocking(False)
            self._loop.add_reader(channel.fileno(), self._on_commands)
            lifespan_shutdown = self.lifespan.shutdown

            async def shutdown() -> None:
                channel.send(Stopping())
                await lifespan_shutdown()

            self.lifespan.shutdown = shutdown
            channel.send(Starting())
            logger.addFilter(voice)
            try:
                await super().startup(sockets)
            finally:
                logger.removeFilter(voice)
            signal.signal(signal.SIGQUIT, self.handle_exit)

        def _report_ready(self) -> None:
            state = self.server_state
            state.max_requests = self._requests_before_retirement
            state.on_max_requests = self._report_limit
            score.accepting(True)
            channel.send(Ready())

        def _count_connections(self) -> int:
            connections = self.server_state.connections
            count = len(connections)
            for acceptor in self._acceptors:
                if acceptor.pending:
                    count += acceptor.unmade(connections)
            return count

        def _report_limit(self) -> None:
            channel.send(Unfit(f"it has answered {self._requests_before_retirement} requests"))

        def _report_closed(self) -> None:
            score.accepting(False)
            channel.send(Closed())

        def _on_commands(self) -> None:
            for message in channel.pending():
                if isinstance(message, Reopen):
                    logs.reopen()
                    continue
                self.told = True
                if isinstance(message, Retire):
                    self.retire()
                elif isinstance(message, Stop):
                    self._stop_ordered = True
                    self.handle_exit(signal.SIGTERM, None)
                elif isinstance(message, Cancel):
                    self.stop_now()
                elif isinstance(message, Force):
                    self.should_exit = True
                    self.force_exit = True
            if channel.at_end:
                # The master is dead. Whoever starts the next one expects our socket to be free.
                os._exit(1)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """Begin to drain, whatever the signal and however often it comes: force is the master's to order."""
            super().handle_exit(signal.SIGTERM, frame)
            if not self.told:
                self.told = self._unasked = True
                channel.send(Leaving(f"it was sent {signal.Signals(sig).name}"))
            # A signal may be meant for this process alone, while others serve. If it went to all, an order follows.
            self._retiring = not self._stop_ordered

        async def _stop_accepting(self, *, accept_rest: bool) -> None:
            # Who retires leaves the queue to the others; but there are none if the signal was sent to all.
            await super()._stop_accepting(accept_rest=accept_rest or self._unasked)

        def early_exit(self, sig: int, frame: FrameType | None) -> None:
            if not self.should_exit:
                self.handle_exit(sig, frame)

    return WorkerServer(config)


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
