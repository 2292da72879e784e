import math

import pytest

from uvicorn.manager.liveness import BEAT, Thresholds, Verdict, judge, next_look


def verdict(now, due=101.0, *, late=0.0, said=None, thresholds=None, state="S"):
    return judge(
        now=now,
        due=due,
        late=late,
        said_at=said,
        thresholds=thresholds or Thresholds(),
        process_state=state,
    )


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0.0, Verdict.WELL),
        (1.5, Verdict.WELL),
        (6.0, Verdict.WELL),
        (6.2, Verdict.SLOW),
        (30.9, Verdict.SLOW),
        (31.2, Verdict.HUNG),
    ],
)
def test_a_loop_stands_still_since_its_next_beat_was_due(age, expected):
    assert verdict(100.0 + age) is expected


def test_a_slow_one_is_named_once_a_minute():
    assert verdict(108.0, said=107.0) is Verdict.WELL
    assert verdict(170.0, said=107.0, thresholds=Thresholds(5, 999)) is Verdict.SLOW


def test_a_stopped_process_is_neither_slow_nor_hung():
    for state in "Tt":
        assert verdict(200.0, state=state) is Verdict.STOPPED


def test_a_look_after_a_suspend_says_nothing():
    assert verdict(200.0, late=0.4) is Verdict.HUNG
    assert verdict(200.0, late=90.0) is Verdict.WELL


def test_one_looks_when_a_limit_may_have_been_reached():
    limits = Thresholds(2.0, 2.0)
    assert next_look(100.0, 0.0, [100.2, 98.3], limits) == pytest.approx(100.4)
    assert next_look(100.0, 0.0, [100.2, math.inf], limits) == 100.0 + BEAT  # by then these have beaten again
    assert next_look(100.0, 0.0, [90.0], limits) == 100.0 + BEAT  # passed, and looked at
    assert next_look(100.0, 0.0, [], Thresholds(math.inf, math.inf)) == 100.0 + BEAT


def test_after_a_suspend_workers_have_the_time_for_a_beat():
    assert next_look(100.0, 5.0, [98.3], Thresholds(2.0, 2.0)) == 100.0 + BEAT


@pytest.mark.parametrize("limit", [0.3, 0.5, 1.0, 2.0, 3.0, 8.0, 30.0, math.inf])
@pytest.mark.parametrize("part", [0.01, 0.3, 0.99])
def test_a_blocked_loop_is_found_at_its_limit_and_never_before(limit, part):
    """Hearts beat, and the master looks, from 100.0 on; then a loop blocks in the middle between two beats."""
    thresholds = Thresholds.of(limit if limit < math.inf else 0, given=True)
    due, blocked_at, look, late = 100.0, 130.0 + part * thresholds.period, 100.0, 0.0
    while look < blocked_at + 60:
        while due <= look and due < blocked_at:
            due += thresholds.period
        verdict = judge(now=look, due=due, late=late, said_at=None, thresholds=thresholds, process_state="S")
        if verdict is Verdict.HUNG:
            break
        look = next_look(look, late, [due], thresholds)
    assert (
        limit <= (look - blocked_at if look < blocked_at + 60 else math.inf) <= limit + 0.1 + thresholds.period + 1e-6
    )


def test_hearts_beat_faster_where_the_limit_is_short_and_never_slower_than_once_a_second():
    assert [Thresholds(limit, limit).period for limit in (0.1, 2.0, 8.0, math.inf)] == [0.05, 0.25, 1.0, 1.0]
    assert Thresholds().period == 1.0


def test_a_given_time_is_the_time_of_both():
    thresholds = Thresholds.of(2, given=True)
    assert thresholds == Thresholds(2, 2)
    assert verdict(103.2, thresholds=thresholds) is Verdict.HUNG
    assert verdict(103.0, thresholds=thresholds) is Verdict.WELL


def test_zero_turns_it_off_and_nothing_given_is_five_and_thirty():
    assert Thresholds.of(0, given=True) == Thresholds(math.inf, math.inf)
    assert verdict(1e9, thresholds=Thresholds.of(0, given=True)) is Verdict.WELL
    assert Thresholds.of(5, given=False) == Thresholds(5.0, 30.0)
