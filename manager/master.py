"""The master: one loop that waits, takes events to the workers' table, asks the planner, and does what it says.

Nothing here waits for anything else: a signal, a message, a death and a deadline are all events of the same loop, so a
SIGTERM in the middle of a rolling restart is served like any other. The master never imports the application, asyncio
or ssl; it holds the listening sockets, and processes.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import random
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from uvicorn.errors import UsersError
from uvicorn.listeners import Listener, running_lines

from . import report
from .backoff import SETTLED_AFTER, Backoff
from .channel import Channel
from .handle import WorkerHandle
from .health import Health
from .liveness import Thresholds
from .messages import (
    PROTOCOL,
    Booting,
    Cancel,
    Closed,
    Failed,
    Force,
    Forked,
    Leaving,
    Loaded,
    Message,
    NotForked,
    NotLoaded,
    Ready,
    Retire,
    Starting,
    Stop,
    Stopping,
    Unfit,
)
from .plan import Limits, Order, Phase, Spawn, Tell, Wish, plan
from .process import ExitStatus, Process, dead_children, oom_kills, reap_stranger
from .recipe import GRACE_UNDER_A_MASTER, Source, working_directory
from .recycling import Recycling
from .scoreboard import Scoreboard
from .signals import COMMANDS, Command, Inbox
from .templates import Template
from .worker import COMING, Action, Event, State

STARTUP_FAILURE = 3

logger = logging.getLogger("uvicorn.error")

_COMMANDS_TO_WORKERS: dict[Action, type[Retire] | type[Stop] | type[Cancel] | type[Force]] = {
    Action.SEND_RETIRE: Retire,
    Action.SEND_STOP: Stop,
    Action.SEND_CANCEL: Cancel,
    Action.SEND_FORCE: Force,
    Action.SEND_TERM: Stop,  # beside the signal: for the moment between the import and the server's own handler
}

# What is looked at first when several things have happened: an order before a report, a report before a death.
_SIGNALS, _TEMPLATES, _WORKERS, _DEATHS = range(4)


class Master:
    def __init__(self, source: Source, listeners: list[Listener], *, hosted: bool) -> None:
        """`hosted`: another program called us; its children, signals and environment stay its own."""
        self._source = source
        self._listeners = listeners
        self._hosted = hosted
        self._pid = os.getpid()
        self._directory = working_directory()
        self._environ = dict(os.environ)
        self._selector = selectors.DefaultSelector()
        self._inbox = Inbox()
        self._wish = Wish(wanted=max(1, source.config.workers), surge=source.config.surge)
        self._workers: dict[int, WorkerHandle] = {}
        self._templates: dict[int, Template] = {}
        self._backoff = Backoff()
        self._not_before: dict[int, float] = {}
        self._blocked: dict[int, float] = {}
        self._template_failures = 0
        self._ids = 0
        self._newest = 1
        self._established = False
        """Generation 1 was complete once: from then on no failure of a worker ends the master."""
        self._exit_code = 0
        self._oom_kills = oom_kills()
        self._rollout_began = 0.0
        self._wake_at = -math.inf
        self._strangers = False
        self._limits = _limits(source)
        self._boards: dict[int, Scoreboard] = {}
        self._health = Health(
            _thresholds(source), _recycling(source), lambda worker, event: self._feed(worker, event, time.monotonic())
        )

    # -- the loop --

    def run(self) -> int:
        """Serve until told to stop; return the exit code."""
        config = self._source.config
        with contextlib.ExitStack() as stack:
            stack.callback(self._close)
            stack.enter_context(self._inbox.listening(tuple(COMMANDS)))
            self._watch(self._inbox, _SIGNALS, self._on_signals)
            for listener in self._listeners:
                listener.listen(config.backlog)
            for message, color_message, args in running_lines(self._listeners, config):
                logger.info(message, *args, extra={"color_message": color_message})
            report.parent("Started", self._pid)
            while not self._is_over():
                self._lap()
            report.parent("Stopping", self._pid)
        return self._exit_code

    def _lap(self) -> None:
        self._health.look(self._workers.values(), time.monotonic())
        self._move()
        wake_at = min(self._wake_at, self._health.wake_at)
        timeout = None if wake_at == math.inf else max(0.0, wake_at - time.monotonic())
        for key, _ in sorted(self._selector.select(timeout), key=lambda event: event[0].data[0]):
            if self._selector.get_map().get(key.fileobj) is key:  # not closed by one of those before it
                key.data[1]()
        if self._strangers:
            self._reap_strangers()

    def _is_over(self) -> bool:
        return bool(self._wish.stop) and not self._workers

    def _move(self) -> None:
        """Ask the planner until it wants nothing more, and do what it says."""
        while True:
            now = time.monotonic()
            views = [worker.view for worker in self._workers.values()]
            self._advance(self._wish.advance(views), now)
            todo = plan(views, self._wish, now, limits=self._limits, not_before=self._not_before, blocked=self._blocked)
            self._wake_at = todo.wake_at
            for tell in todo.tells:
                self._tell(tell, now)
            for spawn in todo.spawns:
                if self._wish.stop:
                    break  # one of these deadlines has ended it all
                self._spawn(spawn, now)
            if not todo.tells and not todo.spawns:
                break
        if self._wish.stop:
            self._close_listeners_when_acknowledged()

    def _advance(self, wish: Wish, now: float) -> None:
        before, self._wish = self._wish, wish
        if before.phase is not Phase.STEADY and wish.phase is Phase.STEADY:
            ready = sum(worker.state is State.READY for worker in self._workers.values())
            logger.info(
                "Reloaded: %d worker%s of generation %d in %s",
                ready,
                "" if ready == 1 else "s",
                wish.target,
                report.seconds(now - self._rollout_began),
            )
        if not self._established and not wish.stop:
            ready_slots = {w.slot for w in self._workers.values() if w.state is State.READY}
            self._established = ready_slots >= set(range(1, wish.wanted + 1))
        for generation in [g for g in self._templates if g not in wish.generations or wish.stop]:
            self._dismiss(self._templates.pop(generation))
        used = {worker.generation for worker in self._workers.values()} | wish.generations
        for generation in [g for g in self._boards if g not in used]:
            self._boards.pop(generation).close()

    def _watch(self, fileobj: Any, priority: int, callback: Callable[[], None]) -> None:
        self._selector.register(fileobj, selectors.EVENT_READ, (priority, callback))

    def _unwatch(self, fileobj: Any) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(fileobj)

    # -- signals --

    def _on_signals(self) -> None:
        for number in self._inbox.read():
            meaning = COMMANDS.get(number)
            if meaning is not None:
                self._command(meaning.command, number)

    def _command(self, command: Command, number: signal.Signals) -> None:
        match command:
            case Command.REAP:
                self._strangers = not self._hosted  # else they are the host's to reap
            case Command.STOP:
                again = self._wish.stop and number is signal.SIGINT
                if not self._wish.stop:
                    logger.info("Received %s, exiting.", number.name)
                self._stop(Order.FORCE if again else Order.STOP)
            case Command.STOP_FAST:
                logger.info("Received %s, exiting at once.", number.name)
                self._stop(Order.CANCEL)
            case _ if self._wish.stop:
                pass
            case Command.RELOAD:
                logger.info("Received SIGHUP, restarting processes.")
                self._reload()
            case Command.MORE:
                logger.info("Received SIGTTIN, increasing the number of processes.")
                self._wish = replace(self._wish, wanted=self._wish.wanted + 1)
            case Command.LESS:
                logger.info("Received SIGTTOU, decreasing number of processes.")
                if self._wish.wanted <= 1:
                    logger.info("Already reached one process, cannot decrease the number of processes anymore.")
                else:
                    self._wish = replace(self._wish, wanted=self._wish.wanted - 1)

    def _stop(self, order: Order) -> None:
        if not self._wish.stop:
            # First of all: whoever comes by the path from now on is refused at once, not reset in a moment.
            for listener in self._listeners:
                listener.unlink()
        if order > self._wish.stop:
            self._wish = replace(self._wish, stop=order)

    def _reload(self) -> None:
        before = self._source.config
        try:
            self._source.reload()
        except UsersError as error:
            logger.error("Cannot reload: %s; the running workers stay", error)
            return
        config = self._source.config
        self._limits = _limits(self._source)
        self._health.thresholds = _thresholds(self._source)
        self._health.recycling = _recycling(self._source)
        self._newest += 1
        if self._wish.phase is Phase.STEADY:
            self._rollout_began = time.monotonic()
        if config.workers != before.workers:
            self._wish = replace(self._wish, wanted=max(1, config.workers))
        self._wish = replace(self._wish, surge=config.surge).begin(self._newest)
        self._backoff.forget()
        self._not_before.clear()

    # -- what the planner wants --

    def _spawn(self, spawn: Spawn, now: float) -> None:
        template = self._templates.get(spawn.generation) or self._start_template(spawn.generation, now)
        self._ids += 1
        worker = WorkerHandle(id=self._ids, slot=spawn.slot, generation=spawn.generation, born=now)
        worker.board = self._boards[spawn.generation]
        template.fork(worker)
        self._workers[worker.id] = worker
        self._watch(worker.channel, _WORKERS, lambda: self._on_worker(worker))

    def _start_template(self, generation: int, now: float) -> Template:
        if generation not in self._boards:
            self._boards[generation] = Scoreboard.create()
        template = Template.start(
            self._source,
            generation,
            board=self._boards[generation].fd,
            listeners=[listener.sock.fileno() for listener in self._listeners],
            directory=self._directory,
            environ=self._environ,
            now=now,
        )
        template.channel.setblocking(False)
        self._templates[generation] = template
        self._watch(template.channel, _TEMPLATES, lambda: self._on_template(template))
        self._watch(template.process, _DEATHS, lambda: self._on_template_death(template))
        return template

    def _tell(self, tell: Tell, now: float) -> None:
        worker = self._workers[tell.id]
        was_coming = worker.state in COMING
        first = worker.order is Order.NONE
        self._act(worker, worker.tell(tell.order, now, tell.why), now)
        if first and tell.order is not Order.KILL:
            report.told_to_go(worker)
        elif tell.order is Order.KILL:
            logger.error("%s is killed: %s", worker, tell.why)
            if was_coming and first:
                self._count_failure(worker, now)
                self._boot_failed(worker, tell.why)

    def _feed(self, worker: WorkerHandle, event: Event, now: float) -> None:
        self._act(worker, worker.feed(event, now), now)

    def _act(self, worker: WorkerHandle, action: Action, now: float) -> None:
        if action is not Action.NOTHING:
            logger.debug("%s: %s, so: %s", worker, worker.state.name, action.value)
        if action in _COMMANDS_TO_WORKERS:
            worker.channel.send(_COMMANDS_TO_WORKERS[action]())
        if worker.process is not None:
            if action is Action.SEND_TERM:
                worker.process.kill(signal.SIGTERM)
            elif action is Action.SEND_KILL:
                self._health.hear(worker)
                worker.process.kill(signal.SIGKILL)

    # -- what workers say --

    def _on_worker(self, worker: WorkerHandle) -> None:
        channel: Channel = worker.channel
        for message in channel.pending():
            self._on_message(worker, message, time.monotonic())
        if channel.at_end:
            self._unwatch(channel)
            if worker.pid is None:
                # Its template closes its end only after it has reported the fork.
                template = self._templates.get(worker.generation)
                if template is not None:
                    self._on_template(template)
            if worker.pid is None:
                self._lost(worker, time.monotonic())

    def _on_message(self, worker: WorkerHandle, message: Message, now: float) -> None:
        match message:
            case Booting(pid):
                self._born(worker, pid, now)
            case Starting():
                self._feed(worker, Event.REPORTED_STARTING, now)
            case Ready():
                worker.listening = True
                self._feed(worker, Event.REPORTED_READY, now)
            case Failed(reason):
                worker.failure = reason
            case Leaving(reason):
                unasked = worker.order is Order.NONE
                self._feed(worker, Event.REPORTED_LEAVING, now)
                if unasked and not self._wish.stop:
                    worker.why = reason
                    self._count_failure(worker, now)
                    logger.warning("%s leaves: %s; replacing it", worker, reason)
            case Unfit(reason):
                if worker.fit:
                    logger.info("%s is to be replaced: %s", worker, reason)
                worker.fit = False
            case Closed():
                worker.listening = False
            case Stopping():
                self._feed(worker, Event.REPORTED_STOPPING, now)
            case _:
                logger.debug("%s sent %r, which is not for the master", worker, message)

    def _born(self, worker: WorkerHandle, pid: int, now: float) -> None:
        """Its pid became known: from its template, or from itself."""
        if worker.pid is not None:
            return
        worker.pid = pid
        worker.process = Process(pid)
        self._watch(worker.process, _DEATHS, lambda: self._on_death(worker))
        self._feed(worker, Event.FORKED, now)

    def _lost(self, worker: WorkerHandle, now: float) -> None:
        """Nobody was born."""
        failed = worker.feed(Event.FORK_LOST, now) is Action.REPORT_FAILED
        self._forget(worker)
        template = self._templates.get(worker.generation)
        if failed and not self._wish.stop and template is not None and template.loaded:
            self._count_failure(worker, now)

    def _on_death(self, worker: WorkerHandle) -> None:
        self._on_worker(worker)  # its last words
        status: ExitStatus | None = worker.process.reap()
        if status is None or worker.id not in self._workers:
            return
        now = time.monotonic()
        if status.signal == signal.SIGKILL and worker.order < Order.KILL:
            count = oom_kills()
            status = replace(status, out_of_memory=count is not None and count > (self._oom_kills or 0))
            self._oom_kills = count
        action = worker.feed(Event.EXITED, now)
        self._forget(worker)
        if self._wish.stop or action is Action.REPORT_FORGOTTEN:
            report.forgotten(worker, status, now)
            return
        self._count_failure(worker, now)
        if worker.failure:
            worker.why = worker.failure
        if action is Action.REPORT_FAILED and (status.signal is None or self._established):
            starting = not self._established
            report.ended(worker, status, now, "" if starting else self._what_next(worker, now))
            self._boot_failed(worker, worker.failure or str(status))
        else:
            report.ended(worker, status, now, self._what_next(worker, now))

    def _forget(self, worker: WorkerHandle) -> None:
        del self._workers[worker.id]
        self._unwatch(worker.channel)
        worker.channel.close()
        worker.board.release(worker.row)
        if worker.dump_fd is not None:
            os.close(worker.dump_fd)
        if worker.process is not None:
            self._unwatch(worker.process)
            worker.process.close()

    def _what_next(self, worker: WorkerHandle, now: float) -> str:
        if worker.slot > self._wish.wanted:
            return ""
        delay = self._not_before.get(worker.slot, now) - now
        return "replacing it" if delay <= 0 else f"replacing it in {report.seconds(delay)}"

    def _count_failure(self, worker: WorkerHandle, now: float) -> None:
        for other in self._workers.values():
            if other.ready_at is not None and now - other.ready_at >= SETTLED_AFTER and not other.settled:
                other.settled = True
                self._backoff.settled(other.slot)
        if worker.ready_at is not None and now - worker.ready_at >= SETTLED_AFTER:
            self._backoff.settled(worker.slot)
            self._not_before.pop(worker.slot, None)
            return
        self._not_before[worker.slot] = self._backoff.failed(
            worker.slot, now, slots=self._wish.wanted, jitter=random.random()
        )

    def _boot_failed(self, worker: WorkerHandle, reason: str) -> None:
        if not self._established and not self._wish.stop:
            logger.error("Child process [%d] failed to start, stopping the parent process.", worker.pid or 0)
            self._give_up()
        else:
            self._generation_failed(worker.generation, f"worker {worker.slot}: {reason}")

    def _generation_failed(self, generation: int, reason: str) -> None:
        before = self._wish
        previous = self._templates.get(before.previous)
        self._wish = before.failed(generation, can_roll_back=previous is not None and previous.preloaded)
        if self._wish is before or generation != before.target:
            return
        if before.phase is Phase.CANARY:
            logger.error(
                "Reload failed: %s; generation %d stays, all of it; correct the cause and send SIGHUP again",
                reason,
                before.base,
            )
        elif self._wish.target != generation:
            logger.error(
                "Reload failed: %s; going back to generation %d; correct the cause and send SIGHUP again",
                reason,
                self._wish.target,
            )
        elif self._wish.phase is Phase.HALTED:
            old = sum(worker.generation != generation for worker in self._workers.values())
            logger.error(
                "Reload is partial: %s; %d worker%s of an older generation stay; correct the cause, send SIGHUP again",
                reason,
                old,
                "" if old == 1 else "s",
            )

    def _give_up(self) -> None:
        self._exit_code = STARTUP_FAILURE
        self._stop(Order.STOP)

    # -- templates --

    def _on_template(self, template: Template) -> None:
        now = time.monotonic()
        for message in template.channel.pending():
            match message:
                case Loaded(protocol, version, preloaded):
                    template.loaded = True
                    template.preloaded = preloaded
                    if protocol != PROTOCOL:
                        self._generation_failed(
                            template.generation,
                            f"uvicorn on disk is now {version}, which this master cannot talk to: send SIGUSR2",
                        )
                case NotLoaded(reason):
                    template.failure = reason
                case Forked(id, pid):
                    if id in self._workers:
                        self._born(self._workers[id], pid, now)
                case NotForked(_, reason):
                    logger.error("Cannot start a worker: %s", reason)
                case _:
                    logger.debug("a template sent %r, which is not for the master", message)
        if template.channel.at_end:
            self._unwatch(template.channel)

    def _on_template_death(self, template: Template) -> None:
        self._on_template(template)
        status = template.process.reap()
        if status is None:
            return
        self._unwatch(template.process)
        self._unwatch(template.channel)
        template.process.close()
        template.channel.close()
        if self._templates.get(template.generation) is not template:
            return  # we let it go
        del self._templates[template.generation]
        now = time.monotonic()
        if template.loaded:
            self._template_failures += 1
            logger.warning(
                "The template of generation %d exited: %s; workers serve on, and the code is read from disk again",
                template.generation,
                status,
            )
        else:
            self._template_failures += 1
            reason = template.failure or f"the template ended with {status}"
            if not self._established and not self._wish.stop:
                logger.error("Cannot start workers: %s", reason)
                self._give_up()
            else:
                self._generation_failed(template.generation, reason)
        self._blocked[template.generation] = now + min(30.0, 0.05 * 2.0 ** min(self._template_failures, 12))

    def _dismiss(self, template: Template) -> None:
        """Let a template end; its death is reaped like any other."""
        self._unwatch(template.channel)
        template.close()

    def _reap_strangers(self) -> None:
        """Reap who died and is not ours: orphans of the application, whose parent we have become."""
        for pid in dead_children():
            for template in list(self._templates.values()):
                self._on_template(template)  # it may be a worker of which we have not heard yet
            if pid in self._pids():
                return  # the kernel shows one at a time: after the lap that reaps this one we look again
            reap_stranger(pid)
        self._strangers = False

    def _pids(self) -> set[int]:
        watched = (key.fileobj for key in self._selector.get_map().values())
        return {process.pid for process in watched if isinstance(process, Process)}

    # -- the end --

    def _close_listeners_when_acknowledged(self) -> None:
        if not any(worker.listening and worker.ready_at is not None for worker in self._workers.values()):
            for listener in self._listeners:
                listener.close()

    def _close(self) -> None:
        for template in self._templates.values():
            self._dismiss(template)
        self._templates.clear()
        # Templates end by themselves when their channel does; their exit statuses are ours to take.
        for key in list(self._selector.get_map().values()):
            if key.data[0] == _DEATHS:
                process = key.fileobj
                assert isinstance(process, Process)
                process.kill(signal.SIGKILL)
                process.wait()
                process.close()
        for listener in self._listeners:
            listener.close()
        for board in self._boards.values():
            board.close()
        self._selector.close()
        self._inbox.close()


def _limits(source: Source) -> Limits:
    config = source.config
    grace = config.timeout_graceful_shutdown
    boot = config.timeout_worker_boot
    return Limits(
        boot=boot if boot > 0 else math.inf,
        grace=GRACE_UNDER_A_MASTER if grace is None else grace,
    )


def _thresholds(source: Source) -> Thresholds:
    config = source.config
    name = "timeout_worker_healthcheck"
    given = config.timeout_worker_healthcheck != 5 if config.given is None else name in config.given
    return Thresholds.of(config.timeout_worker_healthcheck, given=given)


def _recycling(source: Source) -> Recycling:
    config = source.config
    return Recycling(
        lifetime=config.limit_worker_lifetime,
        lifetime_jitter=config.limit_worker_lifetime_jitter,
        memory=config.limit_worker_memory or 0,
    )
