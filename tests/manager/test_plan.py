"""The planner: each situation by name. What tries to break its promises: test_fleet.py and test_every_state.py."""

from __future__ import annotations

import math

import pytest

from uvicorn.manager.handle import WorkerHandle
from uvicorn.manager.plan import Limits, Order, Phase, Plan, Spawn, Tell, Wish, plan
from uvicorn.manager.worker import State
from uvicorn.server.draining import _AFTER_CANCEL

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


@pytest.mark.parametrize(
    ("workers", "wish", "not_before"),
    [
        pytest.param([worker(1, 1), worker(3, 3)], Wish(2, surge=0), {2: 7.5}, id="one beyond for a missing one"),
        pytest.param([worker(1, 1, fit=False), worker(2, 2)], Wish(2, surge=0), {1: 7.5}, id="one at its limit"),
        pytest.param([worker(1, 1), worker(2, 2)], Wish(2, surge=0).begin(2), {1: 7.5, 2: 9.0}, id="for the canary"),
    ],
)
def test_a_surge_of_zero_stops_nobody_while_the_successor_would_have_to_wait(workers, wish, not_before):
    assert moves(workers, wish, now=5.0, not_before=not_before) == Plan((), (), 7.5)
    assert len(moves(workers, wish, now=7.5, not_before=not_before).tells) == 1


def test_a_surge_of_zero_goes_on_with_a_slot_that_need_not_wait():
    workers = [worker(slot, slot, fit=False) for slot in (1, 2)]
    assert moves(workers, Wish(2, surge=0), now=5.0, not_before={1: 7.5}).tells == (Tell(2, Order.RETIRE),)


def test_a_surge_of_zero_waits_for_a_template():
    workers = [worker(1, 1, fit=False), worker(2, 2)]
    assert moves(workers, Wish(2, surge=0), now=5.0, blocked={1: 6.0}) == Plan((), (), 6.0)


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


def drains(count: int, began: float) -> list[WorkerHandle]:
    told = {"order": Order.RETIRE, "ordered_at": began}
    return [worker(slot, slot, State.DRAINING, **told) for slot in range(1, count + 1)]


def test_a_young_drain_holds_up_who_would_be_one_too_many():
    wish = Wish(2).begin(3).advance([worker(31, 1, generation=3).view])
    serving = [worker(21, 1, generation=2), worker(22, 2, generation=2), worker(31, 1, generation=3)]
    assert moves([*drains(2, 10.0), *serving], wish, now=39.0) == Plan((), (), 40.0)
    assert moves([*drains(1, 10.0), *serving], wish, now=39.0).tells == (Tell(21, Order.RETIRE),)
    assert moves([*drains(2, 10.0), *serving], wish, now=40.0).tells == (Tell(1, Order.CANCEL), Tell(21, Order.RETIRE))


def test_scaling_down_waits_for_no_drain():
    assert moves([*drains(2, 10.0), *three()], Wish(2), now=20.0).tells == (Tell(13, Order.RETIRE),)


def test_an_endless_drain_does_not_hold_up_a_rollout_but_drains_do_not_pile_up():
    draining = [worker(i, 1, State.DRAINING, order=Order.RETIRE, ordered_at=float(i)) for i in (1, 2, 3)]
    assert moves([*draining, worker(12, 1), worker(13, 2)], Wish(2)).tells == (Tell(1, Order.CANCEL),)


def test_a_worker_that_was_not_waited_for_cuts_no_drain():
    """The next restart came before the word that it is ready."""
    overtaken = worker(31, 1, State.DRAINING, generation=3, order=Order.RETIRE, ordered_at=15.0, ready_at=None)
    serving = [worker(21, 1, generation=2), worker(41, 1, State.STARTING, generation=4)]
    wish = Wish(1, target=4, base=3, phase=Phase.CANARY)
    assert moves([*drains(1, 10.0), overtaken, *serving], wish, now=15.0).tells == ()


def test_scaling_down_far_cuts_no_drain():
    draining = [worker(i, i, State.DRAINING, order=Order.RETIRE, ordered_at=0.5) for i in (2, 3, 4, 5)]
    assert moves([worker(1, 1), *draining], Wish(1)).tells == ()


def test_retiring_all_workers_keeps_none():
    assert {t.id for t in moves(three(), Wish(0)).tells} == {11, 12, 13}


@pytest.mark.parametrize(
    ("order", "stopping_since", "killed_at"),
    [
        pytest.param(Order.STOP, 2.0, 31.0, id="requests ended early"),
        pytest.param(Order.RETIRE, 29.0, 34.0, id="requests ended late"),
        pytest.param(Order.CANCEL, 2.0, 7.0, id="fast"),
    ],
)
def test_lifespan_shutdown_has_what_the_requests_have_left(order, stopping_since, killed_at):
    times = {"ordered_at": 1.0, "order_since": 1.0, "since": stopping_since}
    one = worker(1, 1, State.STOPPING, order=order, ready_at=0.0, **times)
    assert moves([one], Wish(1, stop=Order.STOP), now=stopping_since).wake_at == killed_at
    tell = moves([one], Wish(1, stop=Order.STOP), now=killed_at).tells[0]
    assert tell == Tell(1, Order.KILL, f"it did not end within {killed_at - stopping_since:g} s after its requests")


def test_the_master_waits_longer_than_a_worker_does_for_cancelled_requests():
    assert Limits().slack >= 2 + _AFTER_CANCEL


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
