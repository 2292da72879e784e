"""The planner: each situation by name, then random walks that try to break its promises."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from uvicorn.manager.handle import WorkerHandle
from uvicorn.manager.plan import Limits, Order, Phase, Plan, Spawn, Tell, Wish, plan
from uvicorn.manager.worker import COMING, LEAVING, Action, Event, State

LIMITS = Limits()


def worker(id: int, slot: int, state: State = State.READY, generation: int = 1, **more: object) -> WorkerHandle:
    handle = WorkerHandle(id=id, slot=slot, generation=generation, born=0.0)
    handle.state = state
    handle.ready_at = 0.0 if state in (State.READY, State.DRAINING, State.HUNG) else None
    for name, value in more.items():
        setattr(handle, name, value)
    return handle


def moves(workers: list[WorkerHandle], wish: Wish, now: float = 1.0, **options: object) -> Plan:
    return plan([w.view for w in workers], wish, now, **options)  # type: ignore[arg-type]


def three(generation: int = 1) -> list[WorkerHandle]:
    return [worker(generation * 10 + slot, slot, generation=generation) for slot in (1, 2, 3)]


def test_start_up_fills_every_slot_at_once():
    assert moves([], Wish(3)).spawns == (Spawn(1, 1), Spawn(2, 1), Spawn(3, 1))


def test_nothing_to_do_sleeps_for_ever():
    assert moves(three(), Wish(3)) == Plan((), (), math.inf)


def test_a_boot_has_a_limit():
    booting = worker(1, 1, State.BOOTING)
    assert moves([booting], Wish(1)).wake_at == 300.0
    tell = moves([booting], Wish(1), now=300.0).tells[0]
    assert tell.order is Order.KILL
    assert tell.why == "it was not ready within 300 s"


def test_an_empty_slot_is_filled_and_keeps_its_number():
    assert moves([worker(1, 1), worker(3, 3)], Wish(3)).spawns == (Spawn(2, 1),)


def test_back_off_delays_a_slot_and_says_when():
    todo = moves([worker(1, 1)], Wish(2), now=5.0, not_before={2: 7.5})
    assert todo == Plan((), (), 7.5)
    assert moves([worker(1, 1)], Wish(2), now=7.5, not_before={2: 7.5}).spawns == (Spawn(2, 1),)


def test_a_generation_whose_template_is_gone_waits_for_the_next():
    assert moves([], Wish(1), now=5.0, blocked={1: 6.0}) == Plan((), (), 6.0)


def test_one_less_retires_the_highest_slot():
    assert moves(three(), Wish(2)).tells == (Tell(13, Order.RETIRE),)


def test_one_less_stops_a_worker_that_still_boots_at_once():
    workers = [worker(1, 1), worker(2, 2), worker(3, 3, State.STARTING)]
    assert moves(workers, Wish(2)).tells == (Tell(3, Order.RETIRE),)


def test_one_less_waits_while_another_slot_does_not_serve():
    workers = [worker(1, 1), worker(2, 2, State.BOOTING), worker(3, 3)]
    assert moves(workers, Wish(2)).tells == ()


def test_a_rollout_starts_with_one_canary():
    assert moves(three(), Wish(3).begin(2)) == Plan((Spawn(1, 2),), (), math.inf)


def test_while_the_canary_boots_the_old_generation_is_kept_whole():
    workers = [worker(11, 1), worker(13, 3), worker(21, 1, State.BOOTING, 2)]
    todo = moves(workers, Wish(3).begin(2))
    assert todo.spawns == (Spawn(2, 1),)
    assert todo.tells == ()


def test_the_canary_is_ready_and_its_partner_retires():
    workers = [*three(), worker(21, 1, generation=2)]
    wish = Wish(3).begin(2).advance([w.view for w in workers])
    assert wish.phase is Phase.ROLLING
    assert moves(workers, wish).tells == (Tell(11, Order.RETIRE),)
    workers[0].tell(Order.RETIRE, 1.0)
    assert moves(workers, wish, now=2.0).spawns == (Spawn(2, 2),)


def test_a_surge_of_two_replaces_two_at_a_time():
    workers = [worker(s, s) for s in range(1, 5)] + [worker(21, 1, generation=2)]
    wish = Wish(4, surge=2).begin(2).advance([w.view for w in workers])
    workers[0].tell(Order.RETIRE, 1.0)
    assert moves(workers, wish).spawns == (Spawn(2, 2), Spawn(3, 2))


def test_a_surge_of_zero_stops_before_it_starts():
    workers = three()
    wish = Wish(3, surge=0).begin(2)
    assert moves(workers, wish) == Plan((), (Tell(11, Order.RETIRE),), math.inf)
    workers[0].tell(Order.RETIRE, 1.0)
    assert moves(workers, wish).spawns == ()  # it is still there
    assert moves(workers[1:], wish).spawns == (Spawn(1, 2),)


def test_a_surge_of_zero_makes_room_where_enough_serve_in_the_wrong_slots():
    wish = Wish(2, target=2, base=2, previous=1, phase=Phase.ROLLING, surge=0)
    old, new = worker(1, 1), worker(2, 1, generation=2)
    assert moves([old, new], wish) == Plan((Spawn(2, 2),), (Tell(1, Order.RETIRE),), math.inf)
    assert moves([worker(1, 1), worker(2, 3)], Wish(2, surge=0)).tells == (Tell(2, Order.RETIRE),)


def test_a_complete_rollout_is_steady():
    wish = Wish(3).begin(2)
    assert wish.advance([w.view for w in three(2)]).phase is Phase.STEADY


def test_a_failed_canary_changes_nothing():
    assert Wish(3).begin(2).failed(2, can_roll_back=False) == Wish(3)


def test_a_failed_canary_in_the_middle_of_a_rollout_goes_on_with_that_rollout():
    rolling = Wish(3).begin(2).advance([worker(21, 1, generation=2).view])
    assert rolling.begin(3).failed(3, can_roll_back=False) == rolling


def test_a_later_failure_halts_the_rollout_and_keeps_who_serves():
    wish = Wish(3).begin(2).advance([worker(21, 1, generation=2).view]).failed(2, can_roll_back=False)
    assert wish.phase is Phase.HALTED
    workers = [worker(21, 1, generation=2), worker(12, 2), worker(13, 3)]
    assert moves(workers, wish) == Plan((), (), math.inf)
    assert moves(workers[:2], wish).spawns == (Spawn(3, 2),)


def test_a_later_failure_with_preload_goes_back_to_the_old_generation():
    wish = Wish(3).begin(2).advance([worker(21, 1, generation=2).view]).failed(2, can_roll_back=True)
    workers = [worker(21, 1, generation=2), worker(12, 2), worker(13, 3)]
    assert moves(workers, wish).spawns == (Spawn(1, 1),)
    workers.append(worker(30, 1))
    assert moves(workers, wish).tells == (Tell(21, Order.RETIRE),)
    assert wish.failed(1, can_roll_back=True).phase is Phase.HALTED


def test_reloads_coalesce_to_the_newest():
    workers = [*three(), worker(21, 1, State.BOOTING, 2)]
    wish = Wish(3).begin(2).begin(3)
    todo = moves(workers, wish)
    assert todo.tells == (Tell(21, Order.RETIRE),)
    assert todo.spawns == (Spawn(1, 3),)
    assert wish.failed(2, can_roll_back=False) == wish  # the overtaken one may fail as it likes


def test_a_worker_at_its_limit_is_replaced_before_it_retires():
    workers = three()
    workers[1].fit = False
    assert moves(workers, Wish(3)) == Plan((Spawn(2, 1),), (), math.inf)
    workers.append(worker(22, 2))
    assert moves(workers, Wish(3)).tells == (Tell(12, Order.RETIRE),)


def test_recycling_takes_turns():
    workers = three()
    for one in workers:
        one.fit = False
    assert len(moves(workers, Wish(3)).spawns) == 1


def test_a_hung_worker_is_replaced_and_killed_when_the_replacement_is_ready():
    workers = [worker(11, 1), worker(12, 2, State.HUNG, since=10.0)]
    todo = moves(workers, Wish(2), now=10.0)
    assert todo.spawns == (Spawn(2, 1),)
    assert todo.tells == ()
    workers.append(worker(13, 2))
    assert moves(workers, Wish(2), now=10.1).tells == (Tell(12, Order.KILL, "its event loop is blocked"),)


def test_an_endless_drain_does_not_hold_up_a_rollout_but_drains_do_not_pile_up():
    draining = [worker(i, 1, State.DRAINING, order=Order.RETIRE, ordered_at=float(i)) for i in (1, 2, 3)]
    assert moves([*draining, worker(12, 1), worker(13, 2)], Wish(2)).tells == (Tell(1, Order.CANCEL),)


def test_scaling_down_far_cuts_no_drain():
    draining = [worker(i, i, State.DRAINING, order=Order.RETIRE, ordered_at=0.5) for i in (2, 3, 4, 5)]
    assert moves([worker(1, 1), *draining], Wish(1)).tells == ()


def test_retiring_all_workers_keeps_none():
    assert {t.id for t in moves(three(), Wish(0)).tells} == {11, 12, 13}


@pytest.mark.parametrize("state", [s for s in State if s not in (State.GONE, State.KILLING)])
@pytest.mark.parametrize("stop", [Order.STOP, Order.CANCEL, Order.FORCE])
def test_stopping_reaches_a_worker_in_every_state_and_has_a_limit(state, stop):
    one = worker(1, 1, state)
    wish = Wish(1, stop=stop)
    todo = moves([one], wish, now=1.0)
    for tell in todo.tells:
        one.tell(tell.order, 1.0)
    assert todo.spawns == ()
    if one.state is not State.KILLING:
        assert moves([one], wish, now=1.0).wake_at <= 1.0 + LIMITS.grace + LIMITS.slack
        assert moves([one], wish, now=100.0).tells[0].order is Order.KILL


class Fleet(RuleBasedStateMachine):
    """A master without processes: hypothesis decides what the processes do, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.wish = Wish(3)
        self.workers: list[WorkerHandle] = []
        self.generation = self.ids = 0
        self.generation = 1
        self.not_before: dict[int, float] = {}
        self.stopped_at: float | None = None
        self.can_roll_back = False
        self.settle()

    # -- what the master does, lap by lap --

    def settle(self) -> None:
        for _ in range(50):
            self.wish = self.wish.advance([w.view for w in self.workers])
            ready = sum(w.state is State.READY for w in self.workers)
            todo = plan([w.view for w in self.workers], self.wish, self.now, not_before=self.not_before)
            if not todo.spawns and not todo.tells:
                assert todo.wake_at > self.now, "a plan that wakes now and does nothing spins"
                return
            self.carry_out(todo, ready)
        raise AssertionError("the planner never comes to rest")

    def carry_out(self, todo: Plan, ready_before: int) -> None:
        gone_by_order = 0
        for tell in todo.tells:
            handle = next(w for w in self.workers if w.id == tell.id)
            assert tell.order > handle.order, "an order may only become stricter"
            if handle.state is State.READY and tell.order in (Order.RETIRE, Order.CANCEL) and not self.wish.stop:
                gone_by_order += 1
            action = handle.tell(tell.order, self.now)
            if action is Action.SEND_KILL:
                assert handle.pid is not None, "a signal to a worker without a process"
        floor = min(self.wish.wanted - (self.wish.surge == 0), ready_before)
        if not self.wish.stop:
            assert ready_before - gone_by_order >= floor
        for spawn in todo.spawns:
            assert not self.wish.stop
            assert 1 <= spawn.slot <= self.wish.wanted
            assert spawn.generation in self.wish.generations
            self.ids += 1
            self.workers.append(WorkerHandle(id=self.ids, slot=spawn.slot, generation=spawn.generation, born=self.now))
            alive = [w for w in self.workers if w.order is Order.NONE and w.state in COMING | {State.READY}]
            assert len(alive) <= self.wish.wanted + self.wish.surge

    def feed(self, handle: WorkerHandle, event: Event) -> None:
        action = handle.feed(event, self.now)
        if handle.state is State.GONE:
            self.workers.remove(handle)
        if action is Action.REPORT_FAILED:
            before = self.wish
            self.wish = self.wish.failed(handle.generation, can_roll_back=self.can_roll_back)
            if before.phase is Phase.CANARY and handle.generation == before.target:
                old = [w for w in self.workers if w.generation == before.base and w.state is State.READY]
                self.settle_and_expect_kept(old)
        if action in (Action.REPORT_FAILED, Action.REPORT_CRASHED):
            self.not_before[handle.slot] = self.now + 0.1
        self.settle()

    def settle_and_expect_kept(self, old: list[WorkerHandle]) -> None:
        before = [w.id for w in old if w.order is Order.NONE]
        if len(before) <= self.wish.wanted and self.wish.phase is Phase.STEADY:
            self.settle()
            kept = {w.id for w in self.workers if w.order is Order.NONE}
            unfit = {w.id for w in old if not w.fit or w.slot > self.wish.wanted}
            assert set(before) - unfit <= kept, "a failed canary must leave the old generation whole"

    @property
    def unfinished(self) -> bool:
        """Is there anything that time alone, or a process that behaves, still changes?"""
        if self.wish.stop:
            return bool(self.workers)
        return len(self.workers) != self.wish.wanted or self.wish.phase in (Phase.CANARY, Phase.ROLLING)

    def pick(self, data: st.DataObject, *states: State) -> WorkerHandle | None:
        some = [w for w in self.workers if w.state in states]
        return data.draw(st.sampled_from(some)) if some else None

    # -- what the world does --

    @rule(data=st.data())
    def forked(self, data):
        if (handle := self.pick(data, State.SPAWNING, State.KILLING)) and handle.pid is None:
            handle.pid = handle.id
            self.feed(handle, Event.FORKED)

    @rule(data=st.data())
    def fork_lost(self, data):
        if (handle := self.pick(data, State.SPAWNING, State.KILLING)) and handle.pid is None:
            self.feed(handle, Event.FORK_LOST)

    @rule(data=st.data(), event=st.sampled_from([Event.REPORTED_STARTING, Event.REPORTED_READY]))
    def reports(self, data, event):
        needs = State.BOOTING if event is Event.REPORTED_STARTING else State.STARTING
        if handle := self.pick(data, needs, State.DRAINING):
            self.feed(handle, event)

    @rule(data=st.data())
    def leaves_by_itself(self, data):
        if handle := self.pick(data, State.BOOTING, State.STARTING, State.READY, State.DRAINING, State.HUNG):
            self.feed(handle, Event.REPORTED_LEAVING)

    @rule(data=st.data())
    def drained(self, data):
        if handle := self.pick(data, State.DRAINING):
            self.feed(handle, Event.REPORTED_STOPPING)

    @rule(data=st.data())
    def exits(self, data):
        if (handle := self.pick(data, *(set(State) - {State.GONE, State.SPAWNING}))) and handle.pid is not None:
            self.feed(handle, Event.EXITED)

    @rule(data=st.data())
    def blocks(self, data):
        if handle := self.pick(data, State.READY, State.DRAINING):
            self.feed(handle, Event.LOOP_BLOCKED)

    @rule(data=st.data())
    def moves_again(self, data):
        if handle := self.pick(data, State.HUNG):
            self.feed(handle, Event.LOOP_MOVED)

    @rule(data=st.data())
    def reaches_a_limit(self, data):
        if handle := self.pick(data, State.READY):
            handle.fit = False
            self.settle()

    @precondition(lambda self: not self.wish.stop)
    @rule(preload=st.booleans())
    def hup(self, preload):
        self.generation += 1
        self.can_roll_back = preload
        self.wish = self.wish.begin(self.generation)
        self.settle()

    @precondition(lambda self: not self.wish.stop)
    @rule(wanted=st.integers(0, 4), surge=st.integers(0, 2))
    def scales(self, wanted, surge):
        from dataclasses import replace

        self.wish = replace(self.wish, wanted=wanted, surge=surge)
        self.settle()

    @rule(seconds=st.sampled_from([0.05, 0.5, 3.0, 40.0, 400.0]))
    def time_passes(self, seconds):
        self.now += seconds  # a suspend is a long one
        self.settle()

    @rule(stop=st.sampled_from([Order.STOP, Order.CANCEL, Order.FORCE]))
    def stop(self, stop):
        from dataclasses import replace

        if stop > self.wish.stop:
            self.wish = replace(self.wish, stop=stop)
            self.stopped_at = self.stopped_at if self.stopped_at is not None else self.now
            self.settle()

    # -- what must always hold --

    @invariant()
    def drains_do_not_pile_up(self):
        if not self.wish.stop:
            long = [
                w
                for w in self.workers
                if w.state is State.DRAINING and w.slot <= self.wish.wanted and w.order < Order.CANCEL
            ]
            assert len(long) <= self.wish.wanted

    @invariant()
    def a_stop_ends_within_its_limits(self):
        if self.stopped_at is not None and self.now > self.stopped_at + LIMITS.grace + LIMITS.slack + LIMITS.cleanup:
            assert all(w.state in (State.KILLING, State.STOPPING) for w in self.workers)

    def teardown(self):
        """Left alone, with processes that behave, the fleet becomes what is wanted."""
        for _ in range(300):
            self.now += 0.2
            if all(w.state is State.READY for w in self.workers) and not self.unfinished:
                break
            for handle in list(self.workers):
                event = {
                    State.SPAWNING: Event.FORKED,
                    State.BOOTING: Event.REPORTED_STARTING,
                    State.STARTING: Event.REPORTED_READY,
                    State.DRAINING: Event.EXITED,
                    State.STOPPING: Event.EXITED,
                    State.HUNG: Event.EXITED,
                }.get(handle.state)
                if handle.state is State.KILLING:
                    event = Event.EXITED if handle.pid else Event.FORKED
                if event is not None and handle in self.workers:
                    handle.pid = handle.pid or handle.id
                    if event is Event.EXITED and handle.state in LEAVING:
                        handle.feed(event, self.now)
                        self.workers.remove(handle)
                        self.settle()
                    else:
                        self.feed(handle, event)
            self.settle()
        if self.wish.stop:
            assert not self.workers, "everything stops"
        else:
            assert sorted(w.slot for w in self.workers) == list(range(1, self.wish.wanted + 1))
            assert all(w.state is State.READY for w in self.workers)
            assert self.wish.phase in (Phase.STEADY, Phase.HALTED)
            if self.wish.phase is Phase.STEADY:
                assert {w.generation for w in self.workers} <= {self.wish.target}


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_two_slots_two_generations_three_signals_exhaustively():
    """Every order of four out of seven events over two slots, after a reload."""

    def ready_all(fleet: Fleet) -> None:
        for handle in list(fleet.workers):
            for event in (Event.FORKED, Event.REPORTED_STARTING, Event.REPORTED_READY):
                handle.pid = handle.id
                handle.feed(event, fleet.now)
        fleet.settle()

    def first(fleet: Fleet, *states: State) -> WorkerHandle | None:
        return next((w for w in fleet.workers if w.state in states), None)

    def progress(fleet: Fleet) -> None:
        if handle := first(fleet, State.SPAWNING):
            handle.pid = handle.id
            fleet.feed(handle, Event.FORKED)
        elif handle := first(fleet, State.BOOTING):
            fleet.feed(handle, Event.REPORTED_STARTING)
        elif handle := first(fleet, State.STARTING):
            fleet.feed(handle, Event.REPORTED_READY)

    def crash(fleet: Fleet) -> None:
        if (handle := first(fleet, State.READY, State.BOOTING, State.STARTING)) and handle.pid:
            fleet.feed(handle, Event.EXITED)

    def leave(fleet: Fleet) -> None:
        if (handle := first(fleet, State.DRAINING, State.KILLING)) and handle.pid:
            fleet.feed(handle, Event.EXITED)

    def wait(fleet: Fleet) -> None:
        fleet.time_passes(0.5)

    def hup(fleet: Fleet) -> None:
        if not fleet.wish.stop and fleet.generation < 3:
            fleet.hup(False)

    def less(fleet: Fleet) -> None:
        if not fleet.wish.stop:
            fleet.scales(1, 1)

    def stop(fleet: Fleet) -> None:
        fleet.stop(Order.STOP)

    for script in product((progress, crash, leave, wait, hup, less, stop), repeat=4):
        fleet = Fleet()
        fleet.wish = Wish(2)
        fleet.workers.clear()
        fleet.settle()
        ready_all(fleet)
        hup(fleet)
        for event in script:
            event(fleet)
            fleet.drains_do_not_pile_up()
        fleet.teardown()
