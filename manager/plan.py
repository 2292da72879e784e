"""The one planner: what runs + what is wanted + now -> the next moves. No I/O, no clock.

Start-up, a crash, scaling, a rolling restart, recycling and shutdown are all the same two questions, asked after every
event: *which worker has to go, and how fast?* and *which slot has to be filled, and from which generation?* Nothing is
remembered between two calls but the wish, so a SIGTERM in the middle of a rolling restart is not a special case: it is
another wish.

A **slot** is a worker's number, 1 to `wanted`. While a worker is replaced its slot holds two: the old one serves until
the new one is ready. A **generation** is one reading of the settings and the code. A **canary** is the first worker of
a new generation: until it is ready the old generation stays whole, and if it fails nothing has happened.

Promises, proved by tests/manager/test_plan.py:
- no order of ours takes the number of ready workers below min(wanted, ready now); with a surge of 0 one less, and then
  only where the successor need not wait for the end of a back-off;
- no spawn takes booting + ready above wanted + surge;
- at most `wanted` workers that have served drain in the slots that are wanted. A replacement that would be one more
  waits for a drain to end, up to `Limits.pile` seconds; then the oldest drain is cut short;
- a failed canary leaves the old generation whole;
- once everything is to stop, every worker has a time at which it is killed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum, IntEnum
from typing import NamedTuple

from .worker import COMING, LEAVING, State


class Order(IntEnum):
    """What a worker was told. Each is stricter than the one before; none is ever taken back."""

    NONE = 0
    RETIRE = 1
    STOP = 2
    CANCEL = 3
    FORCE = 4
    KILL = 5


class Phase(Enum):
    STEADY = "steady"
    CANARY = "trying the new generation with one worker"
    ROLLING = "replacing the old generation"
    HALTED = "partial"


class WorkerView(NamedTuple):
    """What the planner knows of a worker."""

    id: int
    """Counts incarnations: never used twice."""
    slot: int
    generation: int
    state: State
    born: float
    """When the template was asked for it."""
    since: float
    """When it came into its state."""
    order: Order = Order.NONE
    ordered_at: float = 0.0
    """When it was told to go for the first time."""
    order_since: float = 0.0
    """When it was told what it was told last."""
    was_ready: bool = False
    fit: bool = True
    """False: it has reached a limit (requests, age, memory) and is to be replaced."""
    listening: bool = False
    """It may still accept connections, also if it was told to go a moment ago."""


class Limits(NamedTuple):
    """Seconds that a worker may take; math.inf is no limit."""

    boot: float = 300.0
    grace: float = 30.0
    """To finish requests. The worker keeps this limit itself; the master waits `slack` longer before it kills."""
    slack: float = 3.0
    """For what the worker does when it cancels requests: they have a second for their last words. The rest is for a
    machine that is busy: a worker that is late is not to miss its lifespan shutdown for that."""
    cleanup: float = 5.0
    """Lifespan shutdown where nothing is left of `grace`, or a lifespan startup that nobody waits for any more."""
    force: float = 0.5
    pile: float = 30.0
    """How long a drain may hold up later replacements, where as many workers drain as are wanted."""
    hung: float = 5.0
    """How long a worker that hangs is kept while its replacement boots."""


class Wish(NamedTuple):
    """What the operator wants."""

    wanted: int
    target: int = 1
    """The generation that all workers are to be of."""
    base: int = 1
    """The generation that fills an empty slot while the target has not proved itself."""
    previous: int = 1
    """The generation to go back to when a rollout fails after its canary."""
    phase: Phase = Phase.STEADY
    resume: Phase = Phase.STEADY
    """The phase to go back to when the canary fails."""
    surge: int = 1
    """How many workers more than wanted may exist while some are replaced; 0 stops one before it starts another."""
    stop: Order = Order.NONE
    """NONE: serve. STOP, CANCEL or FORCE: everything is to end, and how."""

    def begin(self, generation: int) -> Wish:
        """Return the wish for a rolling restart to `generation`; one that runs already is overtaken."""
        if self.phase is Phase.CANARY:  # unproven: as if it had never been
            return self._replace(target=generation)
        return self._replace(target=generation, base=self.target, phase=Phase.CANARY, resume=self.phase)

    def advance(self, workers: Iterable[WorkerView]) -> Wish:
        """Return the wish after what the workers have reached: a canary that is ready, a rollout that is complete."""
        workers = list(workers)
        ready = [w for w in workers if w.state is State.READY]
        if self.phase is Phase.CANARY and (self.wanted == 0 or any(w.generation == self.target for w in ready)):
            return self._replace(base=self.target, previous=self.base, phase=Phase.ROLLING).advance(workers)
        if self.phase is Phase.ROLLING:
            done = {w.slot for w in ready if w.generation == self.target and w.order is Order.NONE}
            old = any(w.generation != self.target and (w.listening or w in ready) for w in workers)
            if not old and done >= set(range(1, self.wanted + 1)):
                return self._replace(previous=self.target, phase=Phase.STEADY)
        return self

    def failed(self, generation: int, *, can_roll_back: bool) -> Wish:
        """Return the wish after a worker of `generation` failed before it was ready."""
        if generation != self.target or self.stop:
            return self
        if self.phase is Phase.CANARY:
            return self._replace(target=self.base, phase=self.resume, resume=Phase.STEADY).advance(())
        if self.phase is Phase.ROLLING:
            if can_roll_back and self.previous != self.target:
                return self._replace(target=self.previous, base=self.previous)
            return self._replace(phase=Phase.HALTED)
        return self

    def tries(self, generation: int) -> bool:
        """Say whether a failure of `generation` decides a rollout: it is no matter of one worker, then."""
        return generation == self.target and self.phase in (Phase.CANARY, Phase.ROLLING)

    @property
    def generations(self) -> set[int]:
        """The generations from which workers may still be forked."""
        return {self.target} if self.phase in (Phase.STEADY, Phase.HALTED) else {self.target, self.base, self.previous}


class Spawn(NamedTuple):
    slot: int
    generation: int


class Tell(NamedTuple):
    """Give a worker an order that is stricter than what it was told before."""

    id: int
    order: Order
    why: str = ""


class Plan(NamedTuple):
    spawns: tuple[Spawn, ...] = ()
    tells: tuple[Tell, ...] = ()
    wake_at: float = math.inf
    """When to plan again even if nothing happens."""


def plan(
    workers: Sequence[WorkerView],
    wish: Wish,
    now: float,
    *,
    limits: Limits | None = None,
    not_before: Mapping[int, float] | None = None,
    blocked: Mapping[int, float] | None = None,
) -> Plan:
    """Return the next moves.

    `not_before` says per slot, and `blocked` per generation, when the next spawn may happen (back-off).
    """
    limits = limits or Limits()

    def possible_at(spawn: Spawn) -> float:
        return max((not_before or {}).get(spawn.slot, -math.inf), (blocked or {}).get(spawn.generation, -math.inf))

    whys: dict[int, str] = {}
    wake_at = math.inf
    if wish.stop:
        orders = {w.id: wish.stop for w in workers}
    else:
        orders, wake_at = _departures(workers, wish, limits, possible_at, now)
    for worker in workers:
        if worker.state in (State.KILLING, State.GONE):
            continue
        deadline, why = _deadline(worker, workers, wish, limits)
        if deadline <= now:
            orders[worker.id] = Order.KILL
            whys[worker.id] = why
        else:
            wake_at = min(wake_at, deadline)
    tells = tuple(
        Tell(w.id, orders[w.id], whys.get(w.id, ""))
        for w in workers
        if orders.get(w.id, Order.NONE) > w.order and w.state is not State.KILLING
    )
    spawns: list[Spawn] = []
    if not wish.stop:
        room, vacancies = _vacancies(workers, wish, orders)
        for spawn in vacancies:
            if (when := possible_at(spawn)) > now:
                wake_at = min(wake_at, when)
            elif room > 0:
                spawns.append(spawn)
                room -= 1
    return Plan(tuple(spawns), tells, wake_at)


def _kept(worker: WorkerView, wish: Wish) -> bool:
    """Is this worker what its slot is meant to hold? (A canary is not: it stands beside what its slot holds.)"""
    if wish.phase is Phase.CANARY:
        return worker.generation == wish.base or (worker.state is State.READY and worker.generation != wish.target)
    if wish.phase is Phase.HALTED:
        return worker.fit and (worker.state is State.READY or worker.generation == wish.target)
    return worker.fit and worker.generation == wish.target


def _is_canary(worker: WorkerView, wish: Wish) -> bool:
    return wish.phase is Phase.CANARY and worker.generation == wish.target


def _departures(
    workers: Sequence[WorkerView], wish: Wish, limits: Limits, possible_at: Callable[[Spawn], float], now: float
) -> tuple[dict[int, Order], float]:
    """Return who has to go while the server serves on, and when to look again.

    `possible_at` says when a spawn may happen (back-off).
    """
    wake_at = math.inf
    orders: dict[int, Order] = {}
    staying = [w for w in workers if w.order is Order.NONE]
    ready = [w for w in staying if w.state is State.READY]
    holders: dict[int, WorkerView] = {}  # slot -> the worker that it is meant to hold
    for worker in sorted(staying, key=lambda w: (w.state is not State.READY, w.id)):
        if worker.slot <= wish.wanted and worker.state in {State.READY} | COMING and _kept(worker, wish):
            holders.setdefault(worker.slot, worker)

    canary: WorkerView | None = None
    for worker in staying:
        if worker.state not in COMING:
            continue
        if canary is None and _is_canary(worker, wish):
            canary = worker
        elif holders.get(worker.slot) is not worker:
            orders[worker.id] = Order.RETIRE  # nobody waits for it any more

    # Who serves may go only as far as enough others serve.
    surplus = [w for w in ready if w.slot > wish.wanted]
    surplus.sort(key=lambda w: (-w.slot, w.id))
    for worker in sorted(ready, key=lambda w: (w.slot, w.id)):
        if worker.slot <= wish.wanted and not _is_canary(worker, wish):
            holder = holders.get(worker.slot)
            if holder is not None and holder is not worker and holder.state is State.READY:
                surplus.append(worker)
    allowed = max(0, len(ready) - wish.wanted)
    leavers = surplus[:allowed]
    if wish.surge == 0 and (not surplus or allowed == 0):
        for worker, successor in _stop_first(workers, ready, holders, surplus, wish):
            if (when := possible_at(successor)) <= now:
                leavers = [worker]
                break
            wake_at = min(wake_at, when)  # who left now would be missed until then

    # Drains may not pile up. One that is young holds up who comes after it: its requests were promised the time.
    # One that nobody waited for any more while it booted has none, and makes no room by cutting those of another.
    draining = sorted(
        (w.ordered_at or w.since, w.id)
        for w in workers
        if w.state is State.DRAINING and w.was_ready and w.slot <= wish.wanted
    )
    room = wish.wanted - len(draining)
    for worker in leavers:
        if worker.slot <= wish.wanted:
            if room <= 0:
                cut_at = draining[-room][0] + limits.pile if -room < len(draining) else math.inf
                if cut_at > now:
                    wake_at = min(wake_at, cut_at)
                    continue
            room -= 1
        orders[worker.id] = Order.RETIRE
    orders |= {id: Order.CANCEL for _, id in draining[: max(0, -room)]}
    return orders, wake_at


def _stop_first(
    workers: Sequence[WorkerView],
    ready: Sequence[WorkerView],
    holders: Mapping[int, WorkerView],
    surplus: Sequence[WorkerView],
    wish: Wish,
) -> Iterator[tuple[WorkerView, Spawn]]:
    """With a surge of 0: yield who may leave before its successor starts, one of them, and who that would be.

    If enough serve but not in the slots that are wanted, there is no room for those that are missing: then it is one of
    the surplus, for one that is missing.
    """
    taken = [w for w in workers if w.slot <= wish.wanted]
    if any(w.state in COMING | LEAVING | {State.HUNG} for w in taken) or len(ready) < wish.wanted:
        return
    if surplus:
        missing = set(range(1, wish.wanted + 1)) - {w.slot for w in taken}
        yield from ((surplus[0], Spawn(slot, wish.target)) for slot in sorted(missing))
        return
    for worker in sorted(ready, key=lambda w: (w.slot, w.id)):
        if wish.phase is Phase.CANARY or holders.get(worker.slot) is not worker:
            yield worker, Spawn(worker.slot, wish.target)


def _vacancies(workers: Sequence[WorkerView], wish: Wish, orders: Mapping[int, Order]) -> tuple[int, list[Spawn]]:
    """Return how many workers may be started now, and the slots to fill, the most urgent first."""
    staying = [w for w in workers if w.order is Order.NONE and not orders.get(w.id)]
    alive = [w for w in staying if w.state in {State.READY} | COMING]
    room = wish.wanted + wish.surge - len(alive)
    held = {w.slot for w in alive if _kept(w, wish)}
    canaries = [w for w in alive if _is_canary(w, wish)]
    serving = {w.slot for w in alive if not _is_canary(w, wish)}
    # Stop first means: what leaves has to be gone before its memory is used again.
    waiting = {w.slot for w in workers if wish.surge == 0 and w.id not in {a.id for a in alive}}
    fill = wish.base if wish.phase is Phase.CANARY else wish.target
    empty = [slot for slot in range(1, wish.wanted + 1) if slot not in serving and slot not in waiting]
    spawns = [Spawn(slot, fill) for slot in empty]
    if wish.phase is Phase.CANARY:
        if wish.surge == 0:
            if not canaries and spawns:
                spawns[0] = Spawn(spawns[0].slot, wish.target)
            elif canaries:
                spawns = [s for s in spawns if s.slot != canaries[0].slot]
        elif not canaries:
            spawns.append(Spawn(1, wish.target))
        return room, spawns
    stale = sorted(serving - held)
    if wish.surge > 0:
        spawns += [Spawn(slot, fill) for slot in stale if slot <= wish.wanted]
    return room, spawns


def _deadline(worker: WorkerView, workers: Sequence[WorkerView], wish: Wish, limits: Limits) -> tuple[float, str]:
    """Return when this worker is killed, and the words for it."""
    grace, patience = limits.grace, limits.grace + limits.slack
    if not worker.was_ready:  # it has no requests
        grace, patience = min(grace, limits.cleanup), min(patience, limits.cleanup)
    if worker.order >= Order.FORCE:
        return worker.order_since + limits.force, "it was told to leave at once"
    if worker.state is State.HUNG:
        replaced = any(w.slot == worker.slot and w.state is State.READY for w in workers)
        if replaced or worker.slot > wish.wanted or wish.stop:
            return worker.since, "its event loop is blocked"
        return worker.since + limits.hung, "its event loop is blocked"
    if worker.state is State.STOPPING:
        end = worker.since + limits.cleanup
        if worker.order < Order.CANCEL:
            end = max(end, (worker.ordered_at or worker.since) + grace)
        return end, f"it did not end within {end - worker.since:.3g} s after its requests"
    if worker.order is Order.CANCEL:
        return worker.order_since + limits.slack, "its requests were cancelled and it did not end"
    if worker.order:
        return worker.ordered_at + patience, f"it did not end within {grace:g} s"
    if worker.state is State.DRAINING:  # somebody else told it
        return worker.since + patience, f"it did not end within {grace:g} s"
    if worker.state in COMING:
        return worker.born + limits.boot, f"it was not ready within {limits.boot:g} s"
    return math.inf, ""
