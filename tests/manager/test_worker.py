"""The table of a worker's life, walked exhaustively."""

import pytest

from uvicorn.manager.worker import COMING, LEAVING, TRANSITIONS, Action, Event, ImpossibleEvent, State, step

ORDERS = {Event.RETIRE_WANTED, Event.STOP_WANTED, Event.CANCEL_WANTED, Event.FORCE_WANTED}
REPORTS = {Event.REPORTED_STARTING, Event.REPORTED_READY, Event.REPORTED_LEAVING, Event.REPORTED_STOPPING}
ALIVE = set(State) - {State.GONE, State.SPAWNING}


def test_every_state_is_reachable_and_leads_to_gone():
    reached, todo = {State.SPAWNING}, [State.SPAWNING]
    while todo:
        for after, _ in TRANSITIONS[todo.pop()].values():
            if after not in reached:
                reached.add(after)
                todo.append(after)
    assert reached == set(State)
    for state in set(State) - {State.GONE}:
        assert any(after is State.GONE for after, _ in TRANSITIONS[state].values()), state


@pytest.mark.parametrize("state", sorted(ALIVE, key=lambda s: s.name))
def test_a_process_may_end_in_any_state(state):
    assert step(state, Event.EXITED)[0] is State.GONE


@pytest.mark.parametrize("state", sorted(set(State) - {State.GONE, State.KILLING}, key=lambda s: s.name))
def test_a_limit_may_pass_in_any_state(state):
    after, action = step(state, Event.KILL_WANTED)
    assert after is State.KILLING
    assert action is (Action.NOTHING if state is State.SPAWNING else Action.SEND_KILL)


@pytest.mark.parametrize("state", sorted(COMING | {State.READY, State.HUNG}, key=lambda s: s.name))
@pytest.mark.parametrize("order", sorted(ORDERS, key=lambda e: e.name))
def test_every_order_reaches_a_worker_that_was_told_nothing(state, order):
    assert step(state, order)[0] in LEAVING | {State.HUNG}


def test_no_order_brings_a_worker_back():
    for state in LEAVING:
        for event, (after, _) in TRANSITIONS[state].items():
            assert after in LEAVING | {State.HUNG, State.GONE}, (state, event)


def test_reports_that_cross_an_order_change_nothing():
    assert step(State.DRAINING, Event.REPORTED_READY) == (State.DRAINING, Action.NOTHING)
    for report in REPORTS:
        assert step(State.KILLING, report) == (State.KILLING, Action.NOTHING)


def test_ending_before_ready_is_a_failure_and_after_it_a_crash():
    for state in (State.BOOTING, State.STARTING):
        assert step(state, Event.EXITED)[1] is Action.REPORT_FAILED
    assert step(State.SPAWNING, Event.FORK_LOST)[1] is Action.REPORT_FAILED
    for state in (State.READY, State.HUNG):
        assert step(state, Event.EXITED)[1] is Action.REPORT_CRASHED
    for state in LEAVING:
        assert step(state, Event.EXITED)[1] is Action.REPORT_FORGOTTEN


def test_a_worker_without_a_loop_is_told_by_signal():
    for order in ORDERS:
        assert step(State.BOOTING, order) == (State.DRAINING, Action.SEND_TERM)


def test_a_worker_wanted_dead_before_it_was_born_is_killed_at_birth():
    state, action = step(State.SPAWNING, Event.STOP_WANTED)
    assert (state, action) == (State.KILLING, Action.NOTHING)
    assert step(state, Event.FORKED) == (State.KILLING, Action.SEND_KILL)


def test_what_cannot_happen_is_a_bug_that_names_state_and_event():
    with pytest.raises(ImpossibleEvent, match="a worker that is GONE cannot see REPORTED_READY"):
        step(State.GONE, Event.REPORTED_READY)
    with pytest.raises(ImpossibleEvent, match="READY cannot see FORKED"):
        step(State.READY, Event.FORKED)


def test_every_event_and_action_is_used():
    used = [pair for row in TRANSITIONS.values() for pair in row.items()]
    assert {event for event, _ in used} == set(Event)
    assert {action for _, (_, action) in used} == set(Action)
