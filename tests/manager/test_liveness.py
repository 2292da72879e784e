import math

import pytest

from uvicorn.manager.liveness import Thresholds, Verdict, judge


def verdict(now, beat=100.0, *, looked=None, said=None, thresholds=None, state="S"):
    return judge(
        now=now,
        beat=beat,
        looked_at=now - 1 if looked is None else looked,
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
def test_a_beat_is_late_by_the_second_between_two(age, expected):
    assert verdict(100.0 + age) is expected


def test_a_slow_one_is_named_once_a_minute():
    assert verdict(108.0, said=107.0) is Verdict.WELL
    assert verdict(170.0, said=107.0, thresholds=Thresholds(5, 999)) is Verdict.SLOW


def test_a_stopped_process_is_neither_slow_nor_hung():
    for state in "Tt":
        assert verdict(200.0, state=state) is Verdict.STOPPED


def test_a_look_after_a_suspend_says_nothing():
    assert verdict(200.0, looked=190.0) is Verdict.WELL


def test_a_given_time_is_the_time_of_both():
    thresholds = Thresholds.of(2, given=True)
    assert thresholds == Thresholds(2, 2)
    assert verdict(103.2, thresholds=thresholds) is Verdict.HUNG
    assert verdict(103.0, thresholds=thresholds) is Verdict.WELL


def test_zero_turns_it_off_and_nothing_given_is_five_and_thirty():
    assert Thresholds.of(0, given=True) == Thresholds(math.inf, math.inf)
    assert verdict(1e9, thresholds=Thresholds.of(0, given=True)) is Verdict.WELL
    assert Thresholds.of(5, given=False) == Thresholds(5.0, 30.0)
