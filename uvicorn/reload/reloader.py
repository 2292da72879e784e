"""The reloader: it owns the sockets, and has the application served by a fresh process after each change.

The port stays open all the time: while one child ends and the next one starts, clients wait in the queue of the socket
instead of being refused. One loop waits for all that can happen: signals, reports of the watcher, deaths, deadlines.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import os
import selectors
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any

from uvicorn.errors import UsersError
from uvicorn.manager.process import ExitStatus
from uvicorn.manager.recipe import working_directory
from uvicorn.manager.report import seconds
from uvicorn.manager.signals import Inbox
from uvicorn.server import process_signals

from .child_main import SPOILT
from .filters import Filter, shown
from .jobs import GRACE, Job
from .processes import Child, Watcher
from .survey import remove_bytecode
from .warm import are_shadowed, installation_stamp, stamps

logger = logging.getLogger("uvicorn.error")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGQUIT)
CLEANUP = 10.0
"""Seconds that a child has for its lifespan shutdown and atexit after its last request, before it is killed."""
_AFTER_FORCE = 1.0
_RESTART_WATCHER = 1.0
"""Seconds until a watcher that died is started again."""


class Reloader:
    def __init__(self, job: Job, sockets: Sequence[socket.socket], *, name: str | None = None) -> None:
        """`sockets` listen already. `name`: "WatchFiles" or "StatReload"; None takes the better one there is."""
        if name is None:
            name = "StatReload" if importlib.util.find_spec("watchfiles") is None else "WatchFiles"
        self.name = name
        self._job = job
        self._sockets = sockets
        self._directory = working_directory()
        self._selector = selectors.DefaultSelector()
        self._inbox = Inbox()
        self._waker, self._woken = socket.socketpair()
        self._since = time.time_ns()
        self._child: Child | None = None
        self._next: Child | None = None
        self._watcher: Watcher | None = None
        self._watch_at = math.inf
        self._poll = name == "StatReload"
        self._wanted = True
        """A child is to be started, once the one that runs has ended."""
        self._changed: set[str] = set()
        self._changed_at: float | None = None
        """When the reload in progress was asked for; None if none is."""
        self._modules: list[tuple[str, str]] = []
        """Names and files of what the next child may import in advance."""
        self._may_prepare = True
        self._stopping = False
        self._stop_at = math.inf
        self._on_terminal = process_signals._stdin_is_a_terminal()

    # -- the loop --

    def run(self) -> int:
        """Serve until told to stop; return the exit code. Only in the main thread (ValueError)."""
        pid = os.getpid()
        with contextlib.ExitStack() as stack:
            stack.callback(self._close)
            stack.enter_context(self._inbox.listening(tuple(_SIGNALS)))
            self._selector.register(self._inbox, selectors.EVENT_READ, self._on_signals)
            self._selector.register(self._woken, selectors.EVENT_READ, lambda: self._woken.recv(64))
            log_process(f"Started reloader process [%s] using {self.name}", pid, self.name)
            self._start_watcher()
            while not (self._stopping and self._child is None):
                self._lap()
            log_process("Stopping reloader process [%s]", pid)
        return 0

    def stop(self) -> None:
        """Let `run` end. For any thread, and for signal handlers."""
        if not self._stopping:
            self._stopping = True
            self._waker.send(b"!")

    def _lap(self) -> None:
        deadline = self._move(time.monotonic())
        if not self._stopping:
            deadline = min(deadline, self._stop_at)
        timeout = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
        for key, _ in self._selector.select(timeout):
            if self._selector.get_map().get(key.fileobj) is key:  # not closed by one of those before it
                key.data()
        self._look_for_the_dead()

    def _move(self, now: float) -> float:
        """Do what is due; return when to look again at the latest."""
        child = self._child
        if now >= self._stop_at:
            self._stopping = True
        if self._stopping:
            self._drop_next()
        if child is None:
            if self._wanted and not self._stopping:
                self._start()
        elif (self._wanted or self._stopping) and child.told_at is None:
            child.tell(signal.SIGTERM)
        if child is not None and child.told_at is not None and not child.killed:
            limit = self._limit(child)
            if now < child.told_at + limit:
                return min(child.told_at + limit, self._watch_at)
            logger.error("Child process [%d] is killed: it did not end within %s", child.pid, seconds(limit))
            child.killed = True
            child.process.kill()
        if now >= self._watch_at and not self._stopping:
            self._start_watcher()
        return math.inf if self._stopping else self._watch_at

    def _limit(self, child: Child) -> float:
        """Return how many seconds a child that was told to end may take."""
        if child.forced:
            return child.forced - (child.told_at or 0.0) + _AFTER_FORCE
        grace = self._job.config.timeout_graceful_shutdown
        return (GRACE if grace is None else grace) + CLEANUP if child.ready else GRACE

    def _close(self) -> None:
        for process in (self._child, self._next, self._watcher):
            if process is not None:
                process.end()
        self._selector.close()
        self._inbox.close()
        self._waker.close()
        self._woken.close()

    # -- what happens --

    def _on_signals(self) -> None:
        for number in self._inbox.read():
            match number:
                case signal.SIGINT if self._stopping and self._child is not None:
                    self._child.force()
                case signal.SIGTERM if self._job.config.shutdown_delay > 0 and not self._stopping:
                    self._stop_later(self._job.config.shutdown_delay)
                case signal.SIGINT | signal.SIGTERM:
                    self._stopping = True
                case signal.SIGQUIT:
                    self._stopping = True
                    if self._child is not None:
                        self._child.process.kill()
                case signal.SIGHUP if self._on_terminal and not process_signals._terminal_opens():
                    self._stopping = True
                case signal.SIGHUP:
                    self._reload_by_hand()

    def _stop_later(self, delay: float) -> None:
        if self._stop_at == math.inf:
            logger.info("Received SIGTERM, exiting in %s; until then all is served.", seconds(delay))
            self._stop_at = time.monotonic() + delay

    def _reload_by_hand(self) -> None:
        logger.info("Received SIGHUP, reloading.")
        before = self._job.config
        try:
            self._job.reread()
        except UsersError as error:
            logger.error("Cannot reload: %s; what runs stays", error)
            return
        config = self._job.config
        if Filter.of(config) != Filter.of(before) or config.reload_delay != before.reload_delay:
            self._end_watcher()
            self._start_watcher()
        self._drop_next()  # by hand means: everything anew
        self._want()

    def _on_changes(self, changes: list[str]) -> None:
        logger.warning("%s detected changes in %s. Reloading...", self.name, shown(changes, os.getcwd()))
        self._changed.update(changes)
        self._want()

    def _want(self) -> None:
        self._wanted = True
        self._changed_at = time.monotonic()

    def _on_child(self, child: Child) -> None:
        for message in child.link.receive():
            if "ready" in message:
                self._on_ready(child, message["modules"])
        if child.link.at_end:
            self._selector.unregister(child.link)

    def _on_ready(self, child: Child, modules: list[tuple[str, str]]) -> None:
        child.ready = True
        if self._changed_at is not None and not self._wanted:
            logger.info("Reloaded in %s.", seconds(time.monotonic() - self._changed_at))
            self._changed_at = None
        mine = Filter.of(self._job.config)
        self._modules = [(name, file) for name, file in modules if self._may_prepare and not mine.takes(file)]
        self._prepare_next()

    def _on_watcher(self, watcher: Watcher) -> None:
        for message in watcher.link.receive():
            if changes := message.get("changes"):
                self._on_changes(changes)
            if problem := message.get("problem"):
                delay = self._job.config.reload_delay
                logger.warning("%s cannot watch: %s. Looking at the files every %g s.", self.name, problem, delay)
                self.name, self._poll = "StatReload", True
        if watcher.link.at_end:
            self._selector.unregister(watcher.link)

    def _look_for_the_dead(self) -> None:
        if self._child is not None and (status := self._child.status()) is not None:
            if not self._child.link.at_end:
                self._on_child(self._child)  # its last message may tell that it had been ready
            self._on_end(self._child, status)
        if self._watcher is not None and (status := self._watcher.status()) is not None:
            self._end_watcher()
            if not self._stopping:
                logger.warning("The process that watches the files died: %s; it is started again", status)
                self._watch_at = time.monotonic() + _RESTART_WATCHER

    def _on_end(self, child: Child, status: ExitStatus) -> None:
        self._forget(child)
        self._child = None
        if child.told_at is not None or self._stopping or self._wanted:
            return
        if status.code == SPOILT and not child.ready:
            self._modules, self._may_prepare, self._wanted = [], False, True
            return
        if status.code == 0:  # somebody else asked it to end, or it has answered --limit-max-requests
            logger.info("Child process [%d] ended. The next change starts it again.", child.pid)
        elif child.ready:
            logger.error("Child process [%d] died: %s. The next change starts it again.", child.pid, status)
        else:
            logger.error("The application did not start (%s). The next change tries it again.", status)
        self._changed_at = None
        self._prepare_next()

    # -- processes --

    def _start(self) -> None:
        """Start a child, or let the one that waits go. Raises UsersError if it cannot be sent its job."""
        order = self._job.order()
        child, self._next = self._next, None
        if child is not None:
            status = child.status()
            if status is not None and status.code == SPOILT:
                self._modules, self._may_prepare = [], False
            if status is not None or child.stamp != self._stamp() or self._are_shadowed():
                child.end()
                child = None
        if child is None:
            child = self._child_with([])
        remove_bytecode(self._changed)
        self._changed.clear()
        self._wanted = False
        self._child = child
        self._selector.register(child.link, selectors.EVENT_READ, lambda: self._on_child(child))
        child.go(order)

    def _prepare_next(self) -> None:
        if self._next is None and not self._stopping and not self._wanted:
            self._next = self._child_with([name for name, _ in self._modules])

    def _child_with(self, modules: list[str]) -> Child:
        return Child(
            self._job,
            listeners=[sock.fileno() for sock in self._sockets],
            directory=self._directory,
            environ=self._job.environment(),
            modules=modules,
            stamp=self._stamp(),
        )

    def _stamp(self) -> Any:
        files = stamps(file for _, file in self._modules)
        return self._job.environment(), self._job.sys_path, installation_stamp(), files

    def _are_shadowed(self) -> bool:
        return are_shadowed((name for name, _ in self._modules), self._job.late_paths)

    def _drop_next(self) -> None:
        if self._next is not None:
            self._next.end()
            self._next = None

    def _forget(self, process: Child | Watcher) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(process.link)
        process.link.close()

    def _start_watcher(self) -> None:
        self._watch_at = math.inf
        filter = Filter.of(self._job.config)
        watcher = Watcher(self._job, filter, poll=self._poll, since=self._since)
        self._watcher = watcher
        self._selector.register(watcher.link, selectors.EVENT_READ, lambda: self._on_watcher(watcher))

    def _end_watcher(self) -> None:
        if self._watcher is not None:
            self._since = time.time_ns()
            self._forget(self._watcher)
            self._watcher.end()
            self._watcher = None


def log_process(message: str, pid: int, name: str = "") -> None:
    """Log that the reloader starts or stops; `%s` is the pid."""
    bold = "\x1b[36m\x1b[1m%s\x1b[0m"
    colour = message.replace("%s", bold % "%s")
    if name:
        colour = colour.removesuffix(name) + bold % name
    logger.info(message, pid, extra={"color_message": colour})
