import math

from uvicorn.manager.hints import SETTLE, Hints


def test_nothing_follows_before_a_moment_has_passed():
    hints = Hints()
    assert hints.wake_at == math.inf
    due = hints.add(10.0, lambda: None)
    assert due == hints.wake_at == 10.0 + SETTLE
    assert hints.due(10.0 + SETTLE / 2) == []
    assert hints.wake_at == due


def test_each_hint_is_concluded_once_the_oldest_first():
    hints = Hints()
    said = []
    for name, now in (("a", 1.0), ("b", 1.1), ("c", 9.0)):
        hints.add(now, lambda name=name: said.append(name))
    for conclude in hints.due(2.0):
        conclude()
    assert said == ["a", "b"]
    assert hints.due(2.0) == []
    assert hints.wake_at == 9.0 + SETTLE
