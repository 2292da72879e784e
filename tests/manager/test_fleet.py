"""Random walks: a master's decisions against processes that do what they like, when they like.

Both sides are here. A process has a state of its own, reads its orders when it comes to it, and what it reports waits
in its channel until the master reads it: so reports cross orders, come late, or never. The kernel's side is here, too:
who is dead stays a zombie until it is reaped, and a signal to a process that was reaped would hit a stranger.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from uvicorn.manager.handle import WorkerHandle
from uvicorn.manager.plan import Limits, Order, Phase, Plan, Wish, plan
from uvicorn.manager.restarts import Restarts
from uvicorn.manager.worker import COMING, Action, Event, State

LIMITS = Limits()
TO_THE_END = LIMITS.grace + LIMITS.slack + LIMITS.cleanup + LIMITS.force
"""Seconds in which everything ends after a stop, whatever the processes do."""

LIFE = {
    State.BOOTING: (State.STARTING, Event.REPORTED_STARTING),
    State.STARTING: (State.READY, Event.REPORTED_READY),
    State.DRAINING: (State.STOPPING, Event.REPORTED_STOPPING),
    State.STOPPING: (State.GONE, None),
}
"""What a process does by itself in each of its states, and what it reports then."""
BY_CHANNEL = {Action.SEND_RETIRE, Action.SEND_STOP, Action.SEND_CANCEL, Action.SEND_FORCE, Action.SEND_TERM}


@dataclass(eq=False)
class Child:
    """A process, as it really is."""

    state: State = State.BOOTING
    orders: int = 0
    """Orders in its channel that it has not read."""
    reports: deque[Event] = field(default_factory=deque)
    """What it has written and the master has not read."""
    blocked: bool = False

    @property
    def is_dead(self) -> bool:
        return self.state is State.GONE

    def act(self) -> None:
        """Take the next step; an order that waits comes first, but an import cannot be interrupted."""
        if self.is_dead or self.blocked:
            return
        if self.orders and self.state in (State.STARTING, State.READY):
            self.orders = 0
            self.state = State.DRAINING
        elif self.state in LIFE:
            self.state, report = LIFE[self.state]
            if report is not None:
                self.reports.append(report)

    def leave(self) -> None:
        """Somebody else has sent it a stop signal."""
        if self.state in (State.BOOTING, State.STARTING, State.READY) and not self.blocked:
            self.state = State.DRAINING
            self.reports.append(Event.REPORTED_LEAVING)


class World(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.wish = Wish(3)
        self.workers: list[WorkerHandle] = []
        self.children: dict[int, Child] = {}
        """The kernel's table: by process id, zombies among them."""
        self.restarts = Restarts()
        self.blocked: dict[int, float] = {}
        """By generation, until when it has no template."""
        self.ids = 0
        self.generation = 1
        self.stopped_at: float | None = None
        self.can_roll_back = False
        self.settle()

    # -- the master --

    def settle(self) -> None:
        """Plan, and do what was planned, until there is nothing more to do."""
        for _ in range(60):
            views = [w.view for w in self.workers]
            self.wish = self.wish.advance(views)
            todo = plan(views, self.wish, self.now, not_before=self.restarts.not_before, blocked=self.blocked)
            if not todo.spawns and not todo.tells:
                assert todo.wake_at > self.now, "a plan that wakes now and does nothing spins"
                return
            self.carry_out(todo)
        raise AssertionError("the planner never comes to rest")

    def carry_out(self, todo: Plan) -> None:
        ready = sum(w.state is State.READY for w in self.workers)
        wish, retired = self.wish, 0
        for tell in todo.tells:
            handle = next(w for w in self.workers if w.id == tell.id)
            assert tell.order > handle.order, "an order may only become stricter"
            retired += handle.state is State.READY
            coming, first = handle.state in COMING, handle.order is Order.NONE
            self.act(handle, handle.tell(tell.order, self.now, tell.why))
            if tell.order is Order.KILL and coming and first:
                self.fail(handle)
        if not wish.stop:
            floor = min(wish.wanted - (wish.surge == 0), ready)
            assert ready - retired >= floor, f"{ready - retired} of {ready} left ready, {wish.wanted} wanted"
            if ready - retired < min(wish.wanted, ready):
                empty = set(range(1, wish.wanted + 1)) - {w.slot for w in self.workers if w.order is Order.NONE}
                free = {slot for slot in empty if self.may_be_filled(slot)}
                assert free, f"one left although nobody may follow: {empty} are empty"
                assert self.blocked.get(wish.target, self.now) <= self.now
        for spawn in todo.spawns if self.wish is wish else ():  # else it was planned for another wish
            assert not self.wish.stop
            assert 1 <= spawn.slot <= self.wish.wanted
            assert spawn.generation in self.wish.generations
            assert self.may_be_filled(spawn.slot)
            assert self.blocked.get(spawn.generation, self.now) <= self.now
            self.ids += 1
            self.workers.append(WorkerHandle(id=self.ids, slot=spawn.slot, generation=spawn.generation, born=self.now))
            alive = [w for w in self.workers if w.order is Order.NONE and w.state in COMING | {State.READY}]
            assert len(alive) <= self.wish.wanted + self.wish.surge

    def may_be_filled(self, slot: int) -> bool:
        return self.restarts.not_before.get(slot, self.now) <= self.now

    def act(self, handle: WorkerHandle, action: Action) -> None:
        if action in BY_CHANNEL and handle.pid is not None:
            self.children[handle.pid].orders += 1  # a KeyError: it was reaped
        if action is Action.SEND_KILL:
            assert handle.pid is not None, "a signal to a worker without a process"
            self.children[handle.pid].state = State.GONE

    def feed(self, handle: WorkerHandle, event: Event) -> None:
        unasked = handle.order is Order.NONE
        action = handle.feed(event, self.now)
        self.act(handle, action)
        if handle.state is State.GONE:
            self.workers.remove(handle)
        if action in (Action.REPORT_FAILED, Action.REPORT_CRASHED) or (event is Event.REPORTED_LEAVING and unasked):
            self.restarts.failed(handle, self.workers, self.wish.wanted, self.now)
        if action is Action.REPORT_FAILED:
            self.fail(handle)

    def fail(self, handle: WorkerHandle) -> None:
        """It will never be ready. If it was the canary, the old generation stays whole."""
        before = self.wish
        self.wish = before.failed(handle.generation, can_roll_back=self.can_roll_back)
        if before.phase is not Phase.CANARY or handle.generation != before.target or self.wish.stop:
            return
        assert self.wish.target == before.base
        kept = {w.id for w in self.workers if w.state is State.READY and w.generation == before.base and w.fit}
        kept -= {w.id for w in self.workers if w.slot > self.wish.wanted or w.order}
        if before.surge == 0 or before.resume is not Phase.STEADY or len(kept) > self.wish.wanted:
            return
        views = [w.view for w in self.workers]
        told = {tell.id for tell in plan(views, self.wish.advance(views), self.now).tells}
        assert not kept & told, "a failed canary must leave the old generation whole"

    def read(self, handle: WorkerHandle) -> None:
        """Read all that a worker has reported."""
        child = self.children[handle.pid or 0]
        while child.reports and handle.state is not State.GONE:
            self.feed(handle, child.reports.popleft())

    def reap(self, handle: WorkerHandle) -> None:
        assert handle.pid is not None
        assert self.children[handle.pid].is_dead
        self.read(handle)  # its last words
        del self.children[handle.pid]
        self.feed(handle, Event.EXITED)

    def look(self) -> None:
        """The watch over heartbeats."""
        for handle in list(self.workers):
            child = self.children.get(handle.pid or 0)
            if child is None or child.is_dead:
                continue
            if child.blocked and handle.state in (State.READY, State.DRAINING):
                self.feed(handle, Event.LOOP_BLOCKED)
            elif not child.blocked and handle.state is State.HUNG:
                self.feed(handle, Event.LOOP_MOVED)

    # -- the world --

    def one(self, data: st.DataObject, *states: State, unborn: bool = False) -> WorkerHandle | None:
        some = [w for w in self.workers if (w.pid is None) is unborn and (not states or w.state in states)]
        return data.draw(st.sampled_from(some)) if some else None

    @rule(data=st.data())
    def is_forked(self, data):
        if handle := self.one(data, unborn=True):
            handle.pid = 1000 + handle.id
            self.children[handle.pid] = Child()
            self.feed(handle, Event.FORKED)
            self.settle()

    @rule(data=st.data())
    def fork_is_lost(self, data):
        if handle := self.one(data, unborn=True):
            self.feed(handle, Event.FORK_LOST)
            self.settle()

    @rule(data=st.data(), steps=st.integers(1, 3))
    def process_acts(self, data, steps):
        if handle := self.one(data):
            for _ in range(steps):
                self.children[handle.pid].act()

    @rule(data=st.data())
    def master_reads_one_report(self, data):
        handle = self.one(data)
        if handle and (reports := self.children[handle.pid].reports):
            self.feed(handle, reports.popleft())
            self.settle()

    @rule(data=st.data())
    def master_reaps(self, data):
        handle = self.one(data)
        if handle and self.children[handle.pid].is_dead:
            self.reap(handle)
            self.settle()

    @rule(data=st.data())
    def process_is_killed_or_crashes(self, data):
        if handle := self.one(data):
            self.children[handle.pid].state = State.GONE

    @rule(data=st.data())
    def process_is_sent_a_stop_signal(self, data):
        if handle := self.one(data):
            self.children[handle.pid].leave()

    @rule(generation=st.sampled_from(["base", "target"]), pause=st.sampled_from([0.1, 3.0]))
    def template_is_killed(self, generation, pause):
        self.blocked[getattr(self.wish, generation)] = self.now + pause
        self.settle()

    @rule(data=st.data(), blocked=st.booleans())
    def loop_blocks_or_moves(self, data, blocked):
        if handle := self.one(data):
            self.children[handle.pid].blocked = blocked

    @rule()
    def master_looks(self):
        self.look()
        self.settle()

    @rule(data=st.data())
    def reaches_a_limit(self, data):
        if handle := self.one(data, State.READY):
            handle.fit = False
            self.settle()

    @rule(seconds=st.sampled_from([0.05, 0.5, 3.0, 40.0]))
    def time_passes(self, seconds):
        self.now += seconds
        self.settle()

    @rule()
    def machine_is_suspended(self):
        """Nobody runs for an hour; then every report and every limit is there at once."""
        for handle in [w for w in self.workers if w.pid is not None]:
            self.children[handle.pid].act()
        self.now += 3600.0
        for handle in [w for w in self.workers if w.pid is not None]:
            self.read(handle)
            if handle in self.workers and self.children[handle.pid].is_dead:
                self.reap(handle)
        self.settle()

    # -- the operator --

    @precondition(lambda self: not self.wish.stop)
    @rule(preload=st.booleans())
    def hup(self, preload):
        self.generation += 1
        self.can_roll_back = preload
        self.wish = self.wish.begin(self.generation)
        self.restarts.forget()
        self.settle()

    @precondition(lambda self: not self.wish.stop)
    @rule(wanted=st.integers(0, 4), surge=st.integers(0, 2))
    def scales(self, wanted, surge):
        self.wish = self.wish._replace(wanted=wanted, surge=surge)
        self.settle()

    @rule(stop=st.sampled_from([Order.STOP, Order.CANCEL, Order.FORCE]))
    def stop(self, stop):
        if stop > self.wish.stop:
            self.wish = self.wish._replace(stop=stop)
            self.stopped_at = self.now if self.stopped_at is None else self.stopped_at
            self.settle()

    # -- what must always hold --

    @invariant()
    def drains_do_not_pile_up(self):
        drains = [w for w in self.workers if w.state is State.DRAINING and w.slot <= self.wish.wanted]
        draining = [w for w in drains if w.ready_at is not None]
        assert self.wish.stop or sum(w.order < Order.CANCEL for w in draining) <= self.wish.wanted

    @invariant()
    def every_process_belongs_to_one_worker(self):
        assert sorted(self.children) == sorted(w.pid for w in self.workers if w.pid is not None)

    @invariant()
    def a_stop_ends_within_its_limits(self):
        if self.stopped_at is not None and self.now > self.stopped_at + TO_THE_END:
            assert all(w.state is State.KILLING or w.state is State.STOPPING for w in self.workers)

    # -- in the end --

    def teardown(self):
        if self.wish.stop:
            self.ends_although_nobody_obeys()
        else:
            self.becomes_what_is_wanted()

    def ends_although_nobody_obeys(self):
        deadline = self.now + TO_THE_END
        while self.workers and self.now <= deadline:
            self.now += 0.5
            for handle in list(self.workers):
                if handle.pid is None:
                    self.feed(handle, Event.FORK_LOST)
                elif self.children[handle.pid].is_dead:
                    self.reap(handle)
            self.settle()
        assert not self.workers, "a stop ends, whatever the processes do"
        assert not self.children

    def becomes_what_is_wanted(self):
        """Left alone, with processes that do their best, the fleet becomes what the operator wants."""
        for child in self.children.values():
            child.blocked = False
        for _ in range(400):
            if self.is_as_wanted():
                return
            self.now += 0.2
            for handle in list(self.workers):
                if handle.pid is None:
                    handle.pid = 1000 + handle.id
                    self.children[handle.pid] = Child()
                    self.feed(handle, Event.FORKED)
                    continue
                self.children[handle.pid].act()
                self.read(handle)
                if self.children[handle.pid].is_dead and handle in self.workers:
                    self.reap(handle)
            self.look()
            self.settle()
        raise AssertionError(f"never becomes what is wanted: {self.wish}, {self.workers}")

    def is_as_wanted(self) -> bool:
        if sorted(w.slot for w in self.workers) != list(range(1, self.wish.wanted + 1)):
            return False
        if not all(w.state is State.READY and w.order is Order.NONE for w in self.workers):
            return False
        mixed = any(w.generation != self.wish.target for w in self.workers)
        return self.wish.phase is Phase.HALTED or (self.wish.phase is Phase.STEADY and not mixed)


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
