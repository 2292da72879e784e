"""Every state that two slots, two generations and three signals can reach, and the promises in each of them.

A breadth-first search over the planner and the table of a worker's life: in each state everything is tried that the
processes may do, and the signals HUP, TTOU and TERM, and every state that comes of it is searched in turn. It ends
because states are put into a canonical form that forgets what decides nothing:

- times. A limit may pass at any moment, whatever the clock says: that is an event, and so is the end of a back-off.
- whether a worker that comes imports or starts up: the planner treats both alike.
- of workers that leave all but how many drain in the slots that are wanted, and of which generations some may still
  accept: these are entries of their own, in slot 0.
- what a wish says of a rollout when there is none.
- all but state and order once everything is to stop: then each worker is on its own.

Hangs and recycling, more slots and more generations are left to the random walks (test_fleet.py).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from uvicorn.manager.handle import WorkerHandle
from uvicorn.manager.plan import Limits, Order, Phase, Wish, plan
from uvicorn.manager.worker import COMING, Action, Event, State

SLOTS = 2
NEWEST = 2
"""The last generation that SIGHUP asks for."""
NOW = 1000.0
LONG = 1e6
LIMITS = Limits(boot=LONG, grace=LONG, slack=LONG, cleanup=LONG, force=LONG, pile=LONG, hung=LONG)
"""No limit passes but where a step says that it does."""
LONG_AGO = -9 * LONG

S, E = State, Event
WORLD: dict[State, dict[tuple[Event, ...], bool]] = {
    S.SPAWNING: {(E.FORKED,): True, (E.FORK_LOST,): False},
    S.BOOTING: {(E.REPORTED_STARTING, E.REPORTED_READY): True, (E.REPORTED_LEAVING,): False, (E.EXITED,): False},
    S.READY: {(E.REPORTED_LEAVING,): False, (E.EXITED,): False},
    S.DRAINING: {(E.EXITED,): True},
    S.KILLING: {(E.EXITED,): True},
}
"""What may happen to a worker in each state, and whether it does when all processes do their best.

Two events are one step where what lies between them decides nothing.
"""

Worker = tuple[int, int, State, Order, bool, bool]
"""Slot, generation, state, order, whether it may still accept, whether there is a process."""
Key = tuple[Wish, tuple[int, ...], tuple[Worker, ...]]
"""The wish; the slots that wait for the end of a back-off; the workers."""
Graph = dict[Key, list[tuple[str, bool, Key]]]
"""State -> steps: a name, whether processes that do their best bring it about, and the state after it."""


@dataclass
class Fleet:
    """A state, made from its canonical form, to be changed and made canonical again."""

    wish: Wish
    waiting: set[int]
    workers: list[WorkerHandle]
    can_roll_back: bool
    now: float = NOW
    ids: int = 100

    @classmethod
    def of(cls, key: Key, can_roll_back: bool) -> Fleet:
        wish, waiting, workers = key
        return cls(wish, set(waiting), [_handle(n, one) for n, one in enumerate(workers, 1)], can_roll_back)

    def key(self) -> Key:
        serving, draining, leaving = [], [], set()
        for w in self.workers:
            counts = w.slot <= self.wish.wanted
            if w.state in (S.STOPPING, S.KILLING) or w.order >= Order.CANCEL:
                if self.wish.surge == 0 and counts:  # whoever comes after it waits for its end
                    leaving.add((w.slot, 0, S.KILLING, Order.KILL, False, True))
            elif w.state is S.DRAINING and counts:
                draining.append((w.slot if self.wish.surge == 0 else 1, 0, S.DRAINING, Order.RETIRE, False, True))
            elif w.state is not S.DRAINING:
                serving.append((w.slot, w.id, (w.slot, w.generation, w.state, w.order, w.listening, w.pid is not None)))
                continue
            if w.listening:
                leaving.add((0, w.generation, S.KILLING, Order.KILL, True, True))
        if self.wish.stop:
            kinds = {(0, 0, S.DRAINING, w.order, False, True) for w in self.workers if w.state is S.DRAINING}
            return Wish(0, stop=self.wish.stop), (), tuple(sorted(kinds, key=repr))
        serving.sort(key=lambda one: one[:2])
        workers = (*(worker for *_, worker in serving), *sorted(draining, key=repr), *sorted(leaving, key=repr))
        return _decisive(self.wish), tuple(sorted(s for s in self.waiting if s <= self.wish.wanted)), workers

    def settle(self) -> None:
        """Do what the master does after an event; fail where a promise is broken."""
        for _ in range(30):
            self.now += 1
            views = [w.view for w in self.workers]
            self.wish = self.wish.advance(views)
            todo = plan(views, self.wish, self.now, limits=LIMITS, not_before=dict.fromkeys(self.waiting, math.inf))
            if not todo.tells and not todo.spawns:
                assert todo.wake_at > self.now, "a plan that wakes now and does nothing spins"
                passing = [w for w in self.workers if w.state not in (S.READY, S.KILLING)]
                assert not passing or todo.wake_at < math.inf, f"{passing} without a limit"
                draining = [
                    w
                    for w in self.workers
                    if w.state is S.DRAINING and w.ready_at is not None and w.slot <= self.wish.wanted
                ]
                pile = sum(w.order < Order.CANCEL for w in draining)
                assert self.wish.stop or pile <= self.wish.wanted, "drains pile up"
                return
            ready = sum(w.state is S.READY for w in self.workers)
            retired = 0
            for tell in todo.tells:
                handle = next(w for w in self.workers if w.id == tell.id)
                assert tell.order > handle.order, "an order may only become stricter"
                retired += handle.state is S.READY
                if handle.tell(tell.order, self.now) is Action.SEND_KILL:
                    assert handle.pid is not None, "a signal without a process"
            wanted, surge = self.wish.wanted, self.wish.surge
            floor = 0 if self.wish.stop else min(wanted - (surge == 0), ready)
            assert ready - retired >= floor, f"{ready - retired} of {ready} left ready, {wanted} wanted"
            if not self.wish.stop and ready - retired < min(wanted, ready):
                empty = set(range(1, wanted + 1)) - {w.slot for w in self.workers if w.order is Order.NONE}
                assert empty - self.waiting, f"one left although nobody may follow: {empty} wait for a back-off"
            for spawn in todo.spawns:
                assert not self.wish.stop
                assert 1 <= spawn.slot <= wanted
                assert spawn.generation in self.wish.generations
                self.ids += 1
                self.workers.append(WorkerHandle(self.ids, spawn.slot, spawn.generation, born=self.now))
            coming = [w for w in self.workers if w.order is Order.NONE and w.state in COMING | {S.READY}]
            assert not todo.spawns or len(coming) <= wanted + surge
        raise AssertionError("the planner never comes to rest")

    def feed(self, handle: WorkerHandle, *events: Event) -> None:
        for event in events:
            if event is E.FORKED:
                handle.pid = handle.id
            action = handle.feed(event, self.now)
        if handle.state is S.GONE:
            self.workers.remove(handle)
        if action is Action.REPORT_FAILED:
            self.failed(handle)
        elif action is Action.REPORT_CRASHED:
            self.waiting.add(handle.slot)

    def limit_passes(self, handle: WorkerHandle) -> None:
        handle.born = handle.since = handle.ordered_at = handle.order_since = LONG_AGO
        coming = handle.state in COMING
        self.settle()
        assert handle.state is S.KILLING, "a limit that has passed kills"
        if coming:
            self.failed(handle)

    def failed(self, handle: WorkerHandle) -> None:
        self.waiting.add(handle.slot)
        self.wish = self.wish.failed(handle.generation, can_roll_back=self.can_roll_back)


def _handle(number: int, worker: Worker) -> WorkerHandle:
    slot, generation, state, order, listening, exists = worker
    handle = WorkerHandle(number, slot, generation, born=NOW)
    handle.state, handle.order, handle.listening = state, order, listening
    handle.pid = number if exists else None
    handle.ready_at = None if state in COMING else NOW
    if order:
        handle.ordered_at = handle.order_since = NOW
    return handle


def _decisive(wish: Wish) -> Wish:
    """The wish without what a rollout that is over has left in it."""
    if wish.phase in (Phase.STEADY, Phase.HALTED):
        return wish._replace(base=wish.target, previous=wish.target, resume=Phase.STEADY)
    if wish.phase is Phase.ROLLING:
        return wish._replace(base=wish.target, resume=Phase.STEADY)
    return wish


class Walk:
    def __init__(self, surge: int, can_roll_back: bool, names: set[str]) -> None:
        self.start = Wish(SLOTS, surge=surge), (), ()
        self.can_roll_back = can_roll_back
        self.signals = names
        self._rest: dict[Key, Key] = {}

    def settled(self, fleet: Fleet) -> Key:
        """The state after the master has done all that is to be done; most states are come by in several ways."""
        key = fleet.key()
        if key not in self._rest:
            fleet.settle()
            self._rest[key] = fleet.key()
        return self._rest[key]

    def steps(self, key: Key) -> Iterator[tuple[str, bool, Key]]:
        """What may happen in a state."""
        wish, waiting, workers = key
        for index, (_, generation, state, _, listening, _) in enumerate(workers):
            is_canary = wish.phase is Phase.CANARY and generation == wish.target and state in COMING
            for events, well in WORLD[state].items():
                fleet = Fleet.of(key, self.can_roll_back)
                fleet.feed(fleet.workers[index], *events)
                after = self.settled(fleet)
                assert not is_canary or after[0].phase is Phase.ROLLING or still_whole(key, after)
                yield f"{state.name} {events[-1].name}", well, after
            if listening and state is not S.READY:
                fleet = Fleet.of(key, self.can_roll_back)
                fleet.workers[index].listening = False
                yield f"{state.name} does not accept any more", True, self.settled(fleet)
            if state in COMING or (state is S.DRAINING and (listening or wish.stop)):
                fleet = Fleet.of(key, self.can_roll_back)
                fleet.limit_passes(fleet.workers[index])
                after = self.settled(fleet)
                assert not is_canary or still_whole(key, after)
                yield f"{state.name} for too long", False, after
        for slot in waiting:
            fleet = Fleet.of(key, self.can_roll_back)
            fleet.waiting.remove(slot)
            yield "back-off ends", True, self.settled(fleet)
        for name, wanted in signals(key).items():
            for second in range(1 + self.drains(key) if name == "TTOU" else 1) if name in self.signals else ():
                fleet = Fleet.of(key, self.can_roll_back)
                fleet.wish = wanted
                if name == "HUP":  # new code has no history
                    fleet.waiting.clear()
                for handle in [w for w in fleet.workers if w.state is S.DRAINING][:second]:
                    handle.slot = SLOTS  # some of those that drain may be in the slot that is not wanted any more
                yield name, False, self.settled(fleet)

    @staticmethod
    def drains(key: Key) -> int:
        return sum(worker[2] is S.DRAINING for worker in key[2]) if key[0].surge else 0

    def search(self) -> Graph:
        """Find every state that can be reached; a promise that is broken is raised with the way to it."""
        start = self.settled(Fleet.of(self.start, self.can_roll_back))
        found: Graph = {}
        came_by: dict[Key, tuple[Key, str] | None] = {start: None}
        todo = deque([start])
        while todo:
            key = todo.popleft()
            found[key] = []
            try:
                for step in self.steps(key):
                    found[key].append(step)
                    if step[2] not in came_by:
                        came_by[step[2]] = (key, step[0])
                        todo.append(step[2])
            except Exception as error:
                _tell_the_way(error, key, came_by)
                raise
        return found


def signals(key: Key) -> dict[str, Wish]:
    """The signals that may come in a state, and the wish after each."""
    wish, _, workers = key
    if wish.stop:
        return {}
    found = {"TERM": wish._replace(stop=Order.STOP)}
    if max(wish.target, wish.base, wish.previous, *(worker[1] for worker in workers), 1) < NEWEST:
        found["HUP"] = wish.begin(NEWEST)
    if wish.wanted == SLOTS:
        found["TTOU"] = wish._replace(wanted=SLOTS - 1)
    return found


def still_whole(before: Key, after: Key) -> bool:
    """Whether each slot that the old generation served is served by it still."""

    def served(key: Key) -> set[int]:
        return {w[0] for w in key[2] if w[2] is S.READY and w[1] == before[0].base and w[0] <= before[0].wanted}

    return served(before) <= served(after)


def _tell_the_way(error: Exception, key: Key, came_by: dict[Key, tuple[Key, str] | None]) -> None:
    error.add_note(f"in {key}")
    while (before := came_by[key]) is not None:
        key, name = before
        error.add_note(f"which came by {name} of {key}")


def is_as_wanted(key: Key) -> bool:
    wish, _, workers = key
    if wish.stop:
        return not workers
    if [(slot, state) for slot, _, state, *_ in workers] != [(n, S.READY) for n in range(1, wish.wanted + 1)]:
        return False
    mixed = any(worker[1] != wish.target for worker in workers)
    return wish.phase is Phase.HALTED or (wish.phase is Phase.STEADY and not mixed)


def without_a_way_out(graph: Graph) -> set[Key]:
    """The states from which processes that do their best never come to what is wanted."""
    came_from: dict[Key, list[Key]] = {}
    for key, found in graph.items():
        for _, well, after in found:
            if well:
                came_from.setdefault(after, []).append(key)
    fine = {key for key in graph if is_as_wanted(key)}
    todo = deque(fine)
    while todo:
        for before in came_from.get(todo.popleft(), ()):
            if before not in fine:
                fine.add(before)
                todo.append(before)
    return graph.keys() - fine


@pytest.mark.timeout(600)  # it computes for some seconds, which are minutes where much else is at work
@pytest.mark.parametrize(
    ("surge", "can_roll_back", "names"),
    [
        pytest.param(1, False, {"HUP", "TTOU", "TERM"}, id="surge"),
        pytest.param(1, True, {"HUP", "TERM"}, id="surge and a way back"),
        pytest.param(0, False, {"HUP", "TTOU", "TERM"}, id="stop first"),
    ],
)
def test_every_state_keeps_the_promises_and_has_a_way_to_what_is_wanted(surge, can_roll_back, names):
    graph = Walk(surge, can_roll_back, names).search()
    assert {key[0].phase for key in graph} == set(Phase)  # else it does not walk what it says
    assert {key[0].stop for key in graph} == {Order.NONE, Order.STOP}
    assert not without_a_way_out(graph)
