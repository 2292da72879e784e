"""When a client is pinged and given up, with a clock of the test's own."""

from __future__ import annotations

from math import inf

import pytest

from uvicorn.server.websocket_pings import Pings


@pytest.mark.parametrize("interval", [None, 0, -1.0])
def test_without_an_interval_nothing_is_due(interval: float | None) -> None:
    pings = Pings(interval, 20)
    pings.start(100.0)
    assert pings.due == inf


def test_the_first_ping_is_due_after_the_interval_or_up_to_a_second_earlier() -> None:
    for start in (0.0, 0.25, 123.9, 1e6 + 0.1):
        pings = Pings(20, 20)
        pings.start(start)
        assert 19 <= pings.due - start <= 20


def test_pings_of_many_connections_fall_into_the_same_sweeps() -> None:
    due = set()
    for number in range(1000):
        pings = Pings(20, 20)
        pings.start(500 + number / 1000)
        due.add(pings.due)
    assert len(due) <= 2


def test_an_answer_puts_the_next_ping_an_interval_after_the_last() -> None:
    pings = Pings(20, 5)
    pings.start(0)
    pings.sent(20, b"abcd")
    assert pings.awaited
    assert pings.due == 25
    pings.answered(b"other")
    assert pings.awaited
    pings.answered(b"abcd")
    assert not pings.awaited
    assert pings.due == 40


def test_an_answer_that_is_late_because_nobody_read_gets_more_time() -> None:
    pings = Pings(20, 5)
    pings.sent(20, b"abcd")
    pings.wait_longer(25)
    assert pings.due == 30


def test_without_a_time_out_pings_go_out_whatever_comes_back() -> None:
    pings = Pings(20, None)
    pings.sent(20, b"abcd")
    assert not pings.awaited
    assert pings.due == 40


def test_stopped_is_never_due() -> None:
    pings = Pings(20, 20)
    pings.sent(20, b"abcd")
    pings.stop()
    pings.answered(b"abcd")
    assert pings.due == inf
