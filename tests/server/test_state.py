"""What the connections of a server share: counters, sets and the default headers with the date of this second."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from uvicorn.server import ServerState
from uvicorn.server import state as module


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now
        self.asked = 0

    def time(self) -> float:
        self.asked += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(1_700_000_000.25)
    monkeypatch.setattr(module, "time", clock)
    return clock


def date(now: float) -> tuple[bytes, bytes]:
    return b"date", formatdate(int(now), usegmt=True).encode()


def test_it_begins_empty_with_the_attributes_that_custom_protocols_use() -> None:
    state = ServerState()
    assert (state.total_requests, state.connections, state.tasks, state.default_headers) == (0, set(), set(), [])
    assert state.default_block == b""
    assert (state.max_requests, state.on_max_requests, state.draining) == (None, None, None)


def test_the_date_comes_first_and_is_of_this_second(clock: Clock) -> None:
    state = ServerState()
    state.set_headers([(b"server", b"uvicorn"), (b"x", b"y")], date=True)
    assert state.default_headers == [date(clock.now), (b"server", b"uvicorn"), (b"x", b"y")]
    assert state.default_block == b"date: %s\r\nserver: uvicorn\r\nx: y\r\n" % date(clock.now)[1]


def test_the_date_is_rendered_once_a_second(clock: Clock) -> None:
    state = ServerState()
    state.set_headers([], date=True)
    first = state.default_block
    clock.now += 0.7
    assert state.default_block is first
    clock.now += 0.1  # the next second of the wall clock, not a second later
    assert state.default_block == b"date: %s\r\n" % date(clock.now)[1] != first
    assert state.default_headers == [date(clock.now)]


def test_a_clock_that_is_set_back_is_followed(clock: Clock) -> None:
    state = ServerState()
    state.set_headers([], date=True)
    clock.now -= 3600
    assert state.default_headers == [date(clock.now)]


def test_without_a_date_no_clock_is_asked(clock: Clock) -> None:
    state = ServerState()
    state.set_headers([(b"a", b"b")], date=False)
    asked = clock.asked
    assert state.default_block == b"a: b\r\n"
    assert state.default_headers == [(b"a", b"b")]
    assert clock.asked == asked


def test_headers_may_be_assigned_as_custom_code_does(clock: Clock) -> None:
    state = ServerState()
    state.set_headers([(b"server", b"uvicorn")], date=True)
    state.default_headers = [(b"a", b"b")]
    clock.now += 5
    assert state.default_block == b"a: b\r\n"


def test_what_was_given_is_copied() -> None:
    headers: list[Any] = [(b"a", b"b")]
    state = ServerState()
    state.set_headers(headers, date=False)
    headers.append((b"c", b"d"))
    assert state.default_block == b"a: b\r\n"


@given(some.integers(min_value=0, max_value=253_402_300_799))
def test_a_date_is_written_as_the_library_for_mail_writes_it(seconds: int) -> None:
    assert module.http_date(seconds) == formatdate(seconds, usegmt=True)
