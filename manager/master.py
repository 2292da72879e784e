"""The master: one loop that waits, takes events to the workers' table, asks the planner, and does what it says.

Nothing here waits for anything else: a signal, a message, a death and a deadline are all events of the same loop, so a
SIGTERM in the middle of a rolling restart is served like any other. The master never imports the application, asyncio
or ssl; it holds the listening sockets, and processes.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import math
import os
import signal
import time
from dataclasses import replace
from typing import Any

from uvicorn.errors import UsersError
from uvicorn.listeners import Listener, running_lines

from . import logs, report, titles, upgrade
from .channel import Channel
from .handle import WorkerHandle
from .health import Health
from .loop import Loop, Rank
from .messages import (
    Booting,
    Cancel,
    Closed,
    Failed,
    Force,
    Leaving,
    Message,
    Ready,
    Reopen,
    Retire,
    Starting,
    Stop,
    Stopping,
    Unfit,
)
from .nursery import Nursery
from .pidfile import PidFile
from .plan import Order, Phase, Spawn, Tell, Wish, plan
from .process import ExitStatus, Process, dead_children, oom_kills, reap_stranger, return_memory
from .recipe import CommandSource, Source, name_of, working_directory
from .restarts import Restarts
from .signals import COMMANDS, Command, Inbox
from .systemd import Notifier
from .tuning import limits, recycling, thresholds
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


class Master:
    def __init__(
        self,
        source: Source,
        listeners: list[Listener],
        *,
        hosted: bool,
        announced: bool = False,
        pid_file: PidFile | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        """`hosted`: another program called us; its children, signals and environment stay its own.

        `announced`: whoever made the sockets has logged where we are running.
        `state`: what `_snapshot` said in the program that this process ran before an upgrade.
        """
        self._pid_file = pid_file
        self._state = state
        self._source = source
        self._listeners = listeners
        self._hosted = hosted
        self._announced = announced
        self._ending = False
        self._pid = os.getpid()
        self._loop = Loop()
        self._inbox = Inbox()
        self._nursery = Nursery(
            source, listeners, self._loop, self, directory=working_directory(), environ=dict(os.environ)
        )
        self._environ = dict(os.environ)
        self._upgrade = upgrade.Preflight(self._loop, self._environ, self._become_new_code)
        self._wish = Wish(wanted=max(1, source.config.workers), surge=source.config.surge)
        self._workers: dict[int, WorkerHandle] = {}
        self._restarts = Restarts()
        self._ids = 0
        self._newest = 1
        self._established = False
        """Generation 1 was complete once: from then on no failure of a worker ends the master."""
        self._exit_code = 0
        self._oom_kills = oom_kills()
        self._rollout_began = 0.0
        self._wake_at = -math.inf
        self._strangers = False
        self._limits = limits(source.config)
        self._notifier = Notifier({} if hosted else None)
        self._stop_at = math.inf
        self._had_terminal = not hosted and _has_terminal()
        self._health = Health(
            thresholds(source.config),
            recycling(source.config),
            lambda worker, event: self._feed(worker, event, time.monotonic()),
        )

    # -- the loop --

    def run(self) -> int:
        """Serve until told to stop; return the exit code."""
        config = self._source.config
        with contextlib.ExitStack() as stack:
            stack.callback(self._close)
            stack.enter_context(self._inbox.listening(tuple(COMMANDS)))
            self._loop.watch(self._inbox, Rank.SIGNALS, self._on_signals)
            if self._state is not None:
                self._adopt(self._state)
            else:
                for listener in self._listeners:
                    listener.listen(config.backlog)
                for message, color_message, args in () if self._announced else running_lines(self._listeners, config):
                    logger.info(message, *args, extra={"color_message": color_message})
                report.parent("Started", self._pid)
            if not self._hosted:
                titles.set_title("master", name_of(config))
            self._notifier.starting(time.monotonic())
            gc.collect()
            return_memory()
            while not self._is_over():
                self._lap()
            report.parent("Stopping", self._pid)
        return self._exit_code

    def end(self) -> None:
        """Let `run` stop slowly and return. For any thread, and for signal handlers."""
        self._ending = True
        self._inbox.wake()

    def _lap(self) -> None:
        now = time.monotonic()
        if now >= self._stop_at or (self._ending and not self._wish.stop):
            self._stop(Order.STOP)
        self._health.look(self._workers.values(), now)
        self._move()
        if self._upgrade.wanted and isinstance(self._source, CommandSource) and self._is_at_rest():
            self._upgrade.begin(self._source.paths)
        self._notifier.tick(time.monotonic())
        self._loop.wait(min(self._wake_at, self._health.wake_at, self._notifier.wake_at, self._stop_at))
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
            todo = plan(
                views,
                self._wish,
                now,
                limits=self._limits,
                not_before=self._restarts.not_before,
                blocked=self._nursery.blocked,
            )
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
            report.reloaded(ready, wish.target, now - self._rollout_began)
            self._notifier.ready()
        if not self._established and not wish.stop:
            ready_slots = {w.slot for w in self._workers.values() if w.state is State.READY}
            self._established = ready_slots >= set(range(1, wish.wanted + 1))
            if self._established:
                self._notifier.ready()
        ready = sum(worker.state is State.READY for worker in self._workers.values())
        partial = ", partial" if wish.phase is Phase.HALTED else ""
        self._notifier.status(f"{ready} of {wish.wanted} workers ready, generation {wish.target}{partial}")
        used = {worker.generation for worker in self._workers.values()}
        self._nursery.retain(set() if wish.stop else wish.generations, used)

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
                self._stop_asked(number)
            case Command.STOP_FAST:
                logger.info("Received %s, exiting at once.", number.name)
                self._stop(Order.CANCEL)
            case Command.REOPEN:
                logger.info("Received %s, opening %d log files again.", number.name, logs.reopen())
                for worker in self._workers.values():
                    if worker.state in (State.READY, State.DRAINING, State.STARTING):
                        worker.channel.send(Reopen())
            case Command.DUMP:
                for worker in self._workers.values():
                    self._health.dump(worker, time.monotonic())
            case _ if self._wish.stop or self._stop_at < math.inf:
                pass
            case Command.UPGRADE if not isinstance(self._source, CommandSource):
                logger.warning("Received %s, ignored: only the command can upgrade itself.", number.name)
            case Command.UPGRADE:
                logger.info("Received %s, upgrading in place.", number.name)
                self._upgrade.wanted = True
            case Command.RETIRE_ALL:
                if not self._had_terminal:
                    logger.info("Received %s, retiring all workers; SIGHUP brings them back.", number.name)
                    self._wish = replace(self._wish, wanted=0)
            case Command.RELOAD if self._had_terminal and not _has_terminal():
                logger.info("Received SIGHUP, and the terminal is gone: exiting.")
                self._stop(Order.STOP)
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

    def _stop_asked(self, number: signal.Signals) -> None:
        again = self._wish.stop or self._stop_at < math.inf
        delay = self._source.config.shutdown_delay
        if again and number is signal.SIGINT:
            self._stop(Order.FORCE if self._wish.stop else Order.STOP)
        elif not again and delay > 0 and number is signal.SIGTERM:
            logger.info("Received %s, exiting in %s; until then all is served.", number.name, report.seconds(delay))
            self._stop_at = time.monotonic() + delay
            self._notifier.stopping()
        elif not again:
            logger.info("Received %s, exiting.", number.name)
            self._stop(Order.STOP)

    def _stop(self, order: Order) -> None:
        self._stop_at = math.inf
        if not self._wish.stop:
            self._notifier.stopping()
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
        self._limits = limits(config)
        self._health.thresholds = thresholds(config)
        self._health.recycling = recycling(config)
        self._newest += 1
        if self._wish.phase is Phase.STEADY:
            self._rollout_began = time.monotonic()
        self._notifier.reloading(time.monotonic())
        if config.workers != before.workers or not self._wish.wanted:
            self._wish = replace(self._wish, wanted=max(1, config.workers))
        self._wish = replace(self._wish, surge=config.surge).begin(self._newest)
        self._restarts.forget()

    # -- what the planner wants --

    def _spawn(self, spawn: Spawn, now: float) -> None:
        self._ids += 1
        worker = WorkerHandle(id=self._ids, slot=spawn.slot, generation=spawn.generation, born=now)
        try:
            self._nursery.fork(worker, now)
        except OSError as error:  # no process, no descriptor, no memory to be had: that may pass
            logger.error("Cannot start worker %d: %s; trying again in 1 s", spawn.slot, error.strerror or error)
            self._restarts.not_before[spawn.slot] = now + 1.0
            return
        self._workers[worker.id] = worker
        self._loop.watch(worker.channel, Rank.WORKERS, lambda: self._on_worker(worker))

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
                self._restarts.failed(worker, self._workers.values(), self._wish.wanted, now)
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
            self._loop.unwatch(channel)
            if worker.pid is None:
                self._nursery.listen(worker.generation)  # it closes its end only after it has reported the fork
            if worker.pid is None:
                self._lost(worker, time.monotonic())

    def _on_message(self, worker: WorkerHandle, message: Message, now: float) -> None:
        match message:
            case Booting(pid):
                self._born(worker, pid, now)
            case Starting():
                self._feed(worker, Event.REPORTED_STARTING, now)
            case Ready():
                self._feed(worker, Event.REPORTED_READY, now)
            case Failed(reason):
                worker.failure = reason
            case Leaving(reason):
                unasked = worker.order is Order.NONE
                self._feed(worker, Event.REPORTED_LEAVING, now)
                if unasked and not self._wish.stop:
                    worker.why = reason
                    self._restarts.failed(worker, self._workers.values(), self._wish.wanted, now)
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
        try:
            worker.process = Process(pid)
        except ProcessLookupError:  # dead, and reaped by a host that reaps everybody's children
            self._lost(worker, now)
            return
        worker.pid = pid
        self._loop.watch(worker.process, Rank.DEATHS, lambda: self._on_death(worker))
        self._feed(worker, Event.FORKED, now)

    def _lost(self, worker: WorkerHandle, now: float) -> None:
        """Nobody was born."""
        if worker.id not in self._workers:
            return
        failed = worker.feed(Event.FORK_LOST, now) is Action.REPORT_FAILED
        self._forget(worker)
        if failed and not self._wish.stop and self._nursery.can_fork(worker.generation):
            self._restarts.failed(worker, self._workers.values(), self._wish.wanted, now)

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
        self._restarts.failed(worker, self._workers.values(), self._wish.wanted, now)
        if worker.failure:
            worker.why = worker.failure
        if action is Action.REPORT_FAILED and (status.signal is None or self._established):
            starting = not self._established
            report.ended(
                worker, status, now, "" if starting else self._restarts.what_next(worker, self._wish.wanted, now)
            )
            self._boot_failed(worker, worker.failure or str(status))
        else:
            report.ended(worker, status, now, self._restarts.what_next(worker, self._wish.wanted, now))

    def _forget(self, worker: WorkerHandle) -> None:
        del self._workers[worker.id]
        self._loop.unwatch(worker.channel)
        worker.channel.close()
        worker.board.release(worker.row)
        if worker.dump_fd is not None:
            os.close(worker.dump_fd)
        if worker.process is not None:
            self._loop.unwatch(worker.process)
            worker.process.close()

    def _boot_failed(self, worker: WorkerHandle, reason: str) -> None:
        if not self._established and not self._wish.stop:
            logger.error("Child process [%d] failed to start, stopping the parent process.", worker.pid or 0)
            self._give_up()
        else:
            self._generation_failed(worker.generation, f"worker {worker.slot}: {reason}")

    def _generation_failed(self, generation: int, reason: str) -> None:
        before = self._wish
        self._wish = before.failed(generation, can_roll_back=self._nursery.holds_code(before.previous))
        if self._wish is before or generation != before.target:
            return
        older = sum(worker.generation != generation for worker in self._workers.values())
        report.rollout_failed(before, self._wish, reason, older)
        if self._wish.phase in (Phase.STEADY, Phase.HALTED):
            self._notifier.ready()

    def _give_up(self) -> None:
        self._exit_code = STARTUP_FAILURE
        self._stop(Order.STOP)

    # -- what the nursery says --

    def born(self, id: int, pid: int) -> None:
        """A worker was forked."""
        if id in self._workers:
            self._born(self._workers[id], pid, time.monotonic())

    def template_failed(self, generation: int, reason: str) -> None:
        """No worker of this generation will come."""
        if not self._established and not self._wish.stop:
            logger.error("Cannot start workers: %s", reason)
            self._give_up()
        else:
            self._generation_failed(generation, reason)

    def _reap_strangers(self) -> None:
        """Reap who died and is not ours: orphans of the application, whose parent we have become."""
        if any(worker.pid is None for worker in self._workers.values()):
            return  # one of the dead may be a worker of which we have not heard yet; its template's report wakes us
        for pid in dead_children():
            if pid in {process.pid for process in self._loop.processes()}:
                return  # the kernel shows one at a time: after the lap that reaps this one we look again
            reap_stranger(pid)
        self._strangers = False

    # -- upgrade in place --

    def _is_at_rest(self) -> bool:
        coming = any(worker.state in COMING or worker.pid is None for worker in self._workers.values())
        return not coming and not self._wish.stop and self._wish.phase in (Phase.STEADY, Phase.HALTED)

    def _become_new_code(self) -> None:
        """The new code starts: become it, unless something has happened meanwhile."""
        if not self._is_at_rest():
            self._upgrade.wanted = True
        elif isinstance(self._source, CommandSource):
            state = self._snapshot(self._source)
            upgrade.execute(state, state["fds"], self._source.paths, self._environ)

    def _snapshot(self, source: CommandSource) -> dict[str, Any]:
        from uvicorn import __version__

        boards = self._nursery.board_fds()
        workers = [worker.to_json() for worker in self._workers.values()]
        sockets = [listener.sock.fileno() for listener in self._listeners]
        pid_file = None if self._pid_file is None else [self._pid_file.path, self._pid_file.fileno()]
        fds = [*sockets, *boards.values(), *([] if self._pid_file is None else [self._pid_file.fileno()])]
        for worker in workers:
            fds += [fd for fd in (worker["channel"], worker["dump_fd"]) if fd is not None]
        return source.to_json() | {
            "version": __version__,
            "listeners": [
                {"fd": one.sock.fileno(), "inherited": one.inherited, "uds": one.uds, "host": one.host}
                for one in self._listeners
            ],
            "boards": boards,
            "workers": workers,
            "pid_file": pid_file,
            "fds": fds,
            "wanted": self._wish.wanted,
            "target": self._wish.target,
            "ids": self._ids,
            "newest": self._newest,
        }

    def _adopt(self, state: dict[str, Any]) -> None:
        """Take over from the program that this process ran before, then replace the workers it has started."""
        from uvicorn import __version__

        logger.info("Upgraded in place from %s to %s, process id %d", state["version"], __version__, self._pid)
        self._established = True
        self._ids, self._newest = state["ids"], state["newest"]
        generation = state["target"]
        self._wish = replace(
            self._wish, wanted=state["wanted"], target=generation, base=generation, previous=generation
        )
        self._nursery.adopt_boards(state["boards"])
        for values in state["workers"]:
            worker = WorkerHandle.from_json(values)
            worker.channel = Channel.adopt(values["channel"])
            worker.channel.setblocking(False)
            worker.board = self._nursery.board(worker.generation)
            assert worker.pid is not None
            worker.process = Process(worker.pid)  # a zombie at worst: nobody else reaps it
            self._workers[worker.id] = worker
            self._loop.watch(worker.channel, Rank.WORKERS, functools.partial(self._on_worker, worker))
            self._loop.watch(worker.process, Rank.DEATHS, functools.partial(self._on_death, worker))
        self._strangers = True  # the templates of the program before
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._reload()

    # -- the end --

    def _close_listeners_when_acknowledged(self) -> None:
        if not any(worker.listening for worker in self._workers.values()):
            for listener in self._listeners:
                listener.close()

    def _close(self) -> None:
        self._nursery.close()
        for process in self._loop.processes():  # templates, which have nothing to clean up
            process.kill(signal.SIGKILL)
            process.wait()
            process.close()
        for listener in self._listeners:
            listener.close()
        self._loop.close()
        self._inbox.close()


def _has_terminal() -> bool:
    """Say whether we were started on a terminal that is still there."""
    try:
        if not os.isatty(0):
            return False
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
