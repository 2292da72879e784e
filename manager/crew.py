"""The workers, as long as they live: born, told, heard, reaped, forgotten. What they should be is the master's wish.

Every event of a worker goes through its table (`worker`), and what the table says is done here. That somebody could not
start, or that a slot is empty now, the master learns from this; it asks the planner after every event anyway.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from uvicorn.listeners import Listener

from . import report
from .channel import Channel
from .delivery import deliver
from .handle import WorkerHandle
from .health import TIME_TO_ANSWER, Health
from .hints import STOP_SIGNALS, Hints
from .liveness import Thresholds
from .loop import Loop, Rank
from .messages import Booting, Closed, Failed, Leaving, Message, Ready, Starting, Stopping, Unfit
from .nursery import Nursery
from .plan import Order, Spawn, Tell, Wish
from .process import ExitStatus, Process, dead_children, discard, oom_kills, reap_stranger
from .recipe import Source
from .restarts import Restarts
from .scoreboard import Row
from .succession import Counters
from .totals import Totals
from .tuning import recycling
from .worker import COMING, Action, Event, State

logger = logging.getLogger("uvicorn.error")


class Chief(Protocol):
    """Whom the crew works for."""

    wish: Wish
    established: bool
    """Generation 1 was complete once: from then on no failure of a worker ends the master."""

    def boot_failed(self, worker: WorkerHandle, reason: str) -> None:
        """A worker did not become ready."""

    def template_failed(self, generation: int, reason: str) -> None:
        """No worker of this generation will come."""


class Crew:
    def __init__(
        self,
        chief: Chief,
        source: Source,
        listeners: list[Listener],
        loop: Loop,
        environ: Mapping[str, str],
        *,
        directory: str,
        young: bool,
    ) -> None:
        """`directory`: where workers are to be, by its name.

        `young`: this process has just started, and holds nothing but the server.
        """
        self._chief = chief
        self._loop = loop
        self.workers: dict[int, WorkerHandle] = {}
        self.counters = Counters(Totals(time.monotonic()))
        self.restarts = Restarts()
        self.hints = Hints()
        self.nursery = Nursery(source, listeners, loop, self, directory=directory, environ=environ, young=young)
        self.health = Health(
            Thresholds.of_config(source.config),
            recycling(source.config),
            lambda worker, event: self.feed(worker, event, time.monotonic()),
        )
        self._doomed: list[tuple[float, WorkerHandle]] = []
        self._oom_kills = oom_kills()
        self.strangers = False
        """Somebody has died who may be nobody's, but ours to reap."""

    def __iter__(self) -> Iterator[WorkerHandle]:
        return iter(list(self.workers.values()))

    def __len__(self) -> int:
        return len(self.workers)

    @property
    def ready(self) -> int:
        return sum(worker.state is State.READY for worker in self)

    @property
    def is_at_rest(self) -> bool:
        """Nobody is on the way, and nothing waits to be concluded."""
        coming = any(worker.state in COMING or worker.pid is None for worker in self)
        return not coming and self.hints.wake_at == math.inf

    # -- what the planner wants --

    def spawn(self, spawn: Spawn, now: float) -> None:
        self.counters.ids += 1
        worker = WorkerHandle(id=self.counters.ids, slot=spawn.slot, generation=spawn.generation, born=now)
        try:
            self.nursery.fork(worker, now)
        except OSError as error:  # no process, no descriptor, no memory to be had: that may pass
            self._not_now(spawn.slot, error, now)
            return
        self.workers[worker.id] = worker
        self._loop.watch(worker.channel, Rank.WORKERS, lambda: self._on_worker(worker))

    def _not_now(self, slot: int, error: OSError, now: float) -> None:
        logger.error("Cannot start worker %d: %s; trying again in 1 s", slot, error.strerror or error)
        self.restarts.not_before[slot] = now + 1.0

    def tell(self, tell: Tell, now: float) -> None:
        worker = self.workers[tell.id]
        was_coming = worker.state in COMING
        first = worker.order is Order.NONE
        hung, forced = worker.state is State.HUNG, worker.order >= Order.FORCE
        action = worker.tell(tell.order, now, tell.why)
        # Where it hangs it was asked when that was seen; after an order to leave at once nobody cares.
        ask = self.health.awaits if hung else functools.partial(self.health.ask_before_the_kill, now=now)
        if action is Action.SEND_KILL and not forced and ask(worker):
            self._doomed.append((now + TIME_TO_ANSWER, worker))
        else:
            self._act(worker, action)
        if first and tell.order is not Order.KILL:
            report.told_to_go(worker)
        elif tell.order is Order.KILL:
            logger.error("%s is killed: %s", worker, tell.why)
            if was_coming and first:
                self.restarts.failed(worker, self, self._chief.wish.wanted, now)
                self._chief.boot_failed(worker, tell.why)

    def feed(self, worker: WorkerHandle, event: Event, now: float) -> None:
        self._act(worker, worker.feed(event, now))

    def _act(self, worker: WorkerHandle, action: Action) -> None:
        if action is Action.SEND_KILL:
            self.health.hear(worker)
        deliver(worker, action)

    @property
    def wake_at(self) -> float:
        """When somebody who was asked where he hangs is to be killed."""
        return self._doomed[0][0] if self._doomed else math.inf

    def _kill_the_doomed(self, now: float) -> None:
        while self._doomed and now >= self._doomed[0][0]:
            _, worker = self._doomed.pop(0)
            if worker.id in self.workers:
                self._act(worker, Action.SEND_KILL)

    def rows(self) -> dict[int, Row]:
        """Return what each worker that has a row has written there."""
        found = {}
        for worker in self:
            if worker.board is not None and (row := worker.board.read(worker.row)).id == worker.id:
                found[worker.id] = row
        return found

    def look(self, now: float) -> None:
        """Look after everybody's health."""
        self._kill_the_doomed(now)
        self.health.look(self, now)

    def adopt(self, worker: WorkerHandle) -> None:
        """Take in a worker that lives."""
        self.workers[worker.id] = worker
        self._loop.watch(worker.channel, Rank.WORKERS, functools.partial(self._on_worker, worker))
        self._loop.watch(worker.process, Rank.DEATHS, functools.partial(self._on_death, worker))

    # -- what workers say --

    def _on_worker(self, worker: WorkerHandle) -> None:
        channel: Channel = worker.channel
        for message in channel.pending():
            self._on_message(worker, message, time.monotonic())
        if channel.at_end:
            self._loop.unwatch(channel)
            if worker.pid is None:
                self.nursery.listen(worker.generation)  # it closes its end only after it has reported the fork
            if worker.pid is None:
                self._lost(worker, time.monotonic())

    def _on_message(self, worker: WorkerHandle, message: Message, now: float) -> None:
        match message:
            case Booting(pid):
                self._born(worker, pid, now)
            case Starting():
                self.feed(worker, Event.REPORTED_STARTING, now)
            case Ready():
                self.feed(worker, Event.REPORTED_READY, now)
            case Failed(reason):
                worker.failure = reason
            case Leaving(reason):
                unasked = worker.order is Order.NONE
                self.feed(worker, Event.REPORTED_LEAVING, now)
                if unasked:
                    worker.why = reason
                    self._conclude_later(worker, now, functools.partial(self._left, worker, now))
            case Unfit(reason):
                if worker.fit:
                    logger.info("%s is to be replaced: %s", worker, reason)
                worker.fit = False
            case Closed():
                worker.listening = False
            case Stopping():
                self.feed(worker, Event.REPORTED_STOPPING, now)
            case _:
                logger.debug("%s sent %r, which is not for the master", worker, message)

    def _conclude_later(self, worker: WorkerHandle, now: float, conclude: Callable[[], None]) -> None:
        self.restarts.hold(worker.slot, self.hints.add(now, conclude))

    def _left(self, worker: WorkerHandle, now: float) -> None:
        """It leaves, or has left, because somebody has sent it a signal: it alone, as we know by now."""
        if not self._chief.wish.stop:
            self.counters.totals.lost += 1
            self.restarts.failed(worker, self, self._chief.wish.wanted, now)
            logger.warning("%s leaves: %s; replacing it", worker, worker.why)

    def _born(self, worker: WorkerHandle, pid: int, now: float) -> None:
        """Its pid became known: from its template, or from itself."""
        if worker.pid is not None:
            return
        try:
            worker.process = Process(pid)
        except ProcessLookupError:  # dead, and reaped by a host that reaps everybody's children
            self._lost(worker, now)
            return
        except OSError as error:  # no descriptor to be had: of this one we would not see the end
            discard(pid)
            self._lost(worker, now)
            self._not_now(worker.slot, error, now)
            return
        worker.pid = pid
        self.counters.totals.started += 1
        self._loop.watch(worker.process, Rank.DEATHS, lambda: self._on_death(worker))
        self.feed(worker, Event.FORKED, now)

    def _lost(self, worker: WorkerHandle, now: float) -> None:
        """Nobody was born."""
        if worker.id not in self.workers:
            return
        failed = worker.feed(Event.FORK_LOST, now) is Action.REPORT_FAILED
        self._forget(worker)
        if failed and not self._chief.wish.stop and self.nursery.can_fork(worker.generation):
            self.restarts.failed(worker, self, self._chief.wish.wanted, now)

    def _on_death(self, worker: WorkerHandle) -> None:
        self._on_worker(worker)  # its last words
        status: ExitStatus | None = worker.process.reap()
        if status is None or worker.id not in self.workers:
            return
        now = time.monotonic()
        if status.signal == signal.SIGKILL and worker.order < Order.KILL:
            count = oom_kills()
            status = status._replace(out_of_memory=count is not None and count > (self._oom_kills or 0))
            self._oom_kills = count
        action = worker.feed(Event.EXITED, now)
        self._forget(worker)
        if self._chief.wish.stop or action is Action.REPORT_FORGOTTEN:
            report.forgotten(worker, status, now)
        elif status.signal in STOP_SIGNALS:
            self._conclude_later(worker, now, functools.partial(self._died, worker, status, action, now))
        else:
            self._died(worker, status, action, now)

    def _died(self, worker: WorkerHandle, status: ExitStatus, action: Action, now: float) -> None:
        """It has ended, at `now`, and nobody wanted that."""
        if self._chief.wish.stop:
            return
        self.counters.totals.lost += 1
        self.restarts.failed(worker, self, self._chief.wish.wanted, now)
        if worker.failure:
            worker.why = worker.failure
        wish, established = self._chief.wish, self._chief.established
        then = self.restarts.what_next(worker, wish.wanted, now)
        if action is Action.REPORT_FAILED and (status.signal is None or established):
            # What becomes of it all is the next line.
            report.ended(worker, status, now, then if established and not wish.tries(worker.generation) else "")
            self._chief.boot_failed(worker, worker.failure or str(status))
        else:
            report.ended(worker, status, now, then)

    def _forget(self, worker: WorkerHandle) -> None:
        del self.workers[worker.id]
        self._loop.unwatch(worker.channel)
        worker.channel.close()
        if worker.board is not None:
            row = worker.board.read(worker.row)
            if row.id == worker.id:
                self.counters.totals.fold(row)
            worker.board.release(worker.row)
        if worker.dump_fd is not None:
            os.close(worker.dump_fd)
        if worker.process is not None:
            self._loop.unwatch(worker.process)
            worker.process.close()

    # -- what the nursery says --

    def born(self, id: int, pid: int) -> None:
        """A worker was forked."""
        if id in self.workers:
            self._born(self.workers[id], pid, time.monotonic())

    def template_failed(self, generation: int, reason: str) -> None:
        """No worker of this generation will come."""
        self._chief.template_failed(generation, reason)

    # -- the others --

    def reap_strangers(self) -> None:
        """Reap who died and is not ours: orphans of the application, whose parent we have become."""
        if any(worker.pid is None for worker in self):
            return  # one of the dead may be a worker of which we have not heard yet; its template's report wakes us
        for pid in dead_children():
            if pid in {process.pid for process in self._loop.processes()}:
                return  # the kernel shows one at a time: after the lap that reaps this one we look again
            reap_stranger(pid)
        self.strangers = False
