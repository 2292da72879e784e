"""The sweep: every deadline is looked at in time, one timer serves all, and an idle server sleeps."""

from __future__ import annotations

import itertools
import random
from math import inf
from typing import Any

import pytest

from uvicorn.server.connections import Sweep

_numbers = itertools.count()


class FakeLoop:
    """A clock that is moved by hand, with the timers that are due on the way."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[FakeTimer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any) -> FakeTimer:
        timer = FakeTimer(when, callback)
        self.timers.append(timer)
        return timer

    @property
    def armed(self) -> list[FakeTimer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def advance(self, seconds: float) -> int:
        """Let time pass; return how many timers were run."""
        end = self.now + seconds
        runs = 0
        while due := [timer for timer in self.armed if timer.when <= end]:
            timer = min(due, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = max(self.now, timer.when)
            timer.callback()
            runs += 1
            assert runs < 100_000, "the sweep spins"
        self.timers = self.armed
        self.now = end
        return runs


class FakeTimer:
    def __init__(self, when: float, callback: Any) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Connection:
    def __init__(self, loop: FakeLoop, deadline: float = inf, then: Any = None) -> None:
        self.loop = loop
        self.deadline = deadline
        self.then = then
        self.expirations: list[float] = []
        self.number = next(_numbers)

    def expired(self, now: float) -> None:
        assert now == self.loop.now
        self.expirations.append(now)
        self.deadline = inf
        if self.then:
            self.then(self)


class Custom:
    """A protocol that is not ours and keeps its own time."""


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


def sweep_of(loop: FakeLoop, connections: set[Any], shortest: float = 5.0) -> Sweep:
    fake: Any = loop
    return Sweep(fake, connections, shortest)


def test_without_a_connection_nothing_runs(loop: FakeLoop) -> None:
    connections: set[Any] = set()
    sweep = sweep_of(loop, connections)
    assert not loop.armed
    connections.add(Connection(loop))
    sweep.watch()
    connections.clear()
    assert loop.advance(1000) == 1
    assert not loop.armed


def test_custom_protocols_alone_need_no_clock(loop: FakeLoop) -> None:
    connections: set[Any] = {Custom()}
    sweep_of(loop, connections).watch()
    assert loop.advance(1000) == 1
    assert not loop.armed


def test_a_custom_protocol_beside_ours_is_left_alone(loop: FakeLoop) -> None:
    ours = Connection(loop, loop.now + 7)
    connections: set[Any] = {Custom(), ours}
    sweep_of(loop, connections).watch()
    loop.advance(10)
    assert ours.expirations == [1007.0]


def test_a_thousand_connections_are_one_timer(loop: FakeLoop) -> None:
    connections: set[Any] = set()
    sweep = sweep_of(loop, connections)
    for _ in range(1000):
        connections.add(Connection(loop))
        sweep.watch()
        assert len(loop.armed) == 1
    assert loop.advance(100) <= 21


@pytest.mark.parametrize("after", [5.0, 5.1, 7.5, 10.0, 12.0, 60.0])
def test_a_deadline_beyond_the_shortest_time_out_is_met_exactly(loop: FakeLoop, after: float) -> None:
    connection = Connection(loop)
    connections: set[Any] = {connection}
    sweep_of(loop, connections).watch()
    loop.advance(2)
    connection.deadline = loop.now + after
    loop.advance(after + 0.06)
    assert connection.expirations == [pytest.approx(1002 + after, abs=0.051)]


def test_a_nearer_deadline_is_met_when_it_was_said(loop: FakeLoop) -> None:
    connection = Connection(loop)
    connections: set[Any] = {connection}
    sweep = sweep_of(loop, connections)
    sweep.watch()
    connection.deadline = loop.now + 1
    sweep.look_at(connection.deadline)
    assert len(loop.armed) == 1
    loop.advance(1)
    assert connection.expirations == [1001.0]


def test_looking_at_a_later_deadline_changes_nothing(loop: FakeLoop) -> None:
    sooner, later = Connection(loop, loop.now + 5), Connection(loop, loop.now + 60)
    connections: set[Any] = {sooner, later}
    sweep = sweep_of(loop, connections)
    sweep.watch()
    sweep.look_at(later.deadline)
    sweep.look_at(inf)
    loop.advance(61)
    assert sooner.expirations == [1005.0]
    assert later.expirations == [1060.0]


def test_what_one_connection_sets_as_it_ends_delays_no_other(loop: FakeLoop) -> None:
    sweep: Sweep

    def hang_up(connection: Connection) -> None:
        connection.deadline = loop.now + 60
        sweep.look_at(connection.deadline)

    ending = Connection(loop, loop.now + 5, hang_up)
    other = Connection(loop, loop.now + 10)
    connections: set[Any] = {ending, other}
    sweep = sweep_of(loop, connections)
    sweep.watch()
    loop.advance(11)
    assert other.expirations == [1010.0]
    loop.advance(60)
    assert ending.expirations == [1005.0, 1065.0]


def test_connections_that_end_in_the_sweep_disturb_it_not(loop: FakeLoop) -> None:
    connections: set[Any] = set()
    all_of_them = [Connection(loop, loop.now + 5, lambda c: connections.discard(c)) for _ in range(50)]
    connections.update(all_of_them)
    sweep_of(loop, connections).watch()
    loop.advance(20)
    assert all(connection.expirations == [1005.0] for connection in all_of_them)
    assert not loop.armed


def test_a_deadline_that_is_left_in_the_past_is_seen_again_but_does_not_spin(loop: FakeLoop) -> None:
    def again(connection: Connection) -> None:
        connection.deadline = 0.0

    connection = Connection(loop, loop.now + 5, again)
    connections: set[Any] = {connection}
    sweep_of(loop, connections).watch()
    loop.advance(6)
    assert 10 <= len(connection.expirations) <= 22


def test_a_loop_that_was_held_up_reads_before_it_ends_anybody(loop: FakeLoop) -> None:
    silent, answered = Connection(loop, loop.now + 5), Connection(loop, loop.now + 5)
    connections: set[Any] = {silent, answered}
    sweep_of(loop, connections).watch()
    [timer] = loop.armed
    loop.timers.clear()
    loop.now = 1100.0
    timer.callback()
    assert silent.expirations == answered.expirations == []
    answered.deadline = loop.now + 60  # what waited in its socket is read now
    loop.advance(1)
    assert silent.expirations == [pytest.approx(1100, abs=0.051)]
    assert answered.expirations == []


def test_a_loop_that_is_always_late_ends_them_all_the_same(loop: FakeLoop) -> None:
    connection = Connection(loop, loop.now + 5)
    connections: set[Any] = {connection}
    sweep_of(loop, connections).watch()
    for _ in range(2):
        [timer] = loop.armed
        loop.timers.clear()
        loop.now = timer.when + 10
        timer.callback()
    assert len(connection.expirations) == 1


def test_without_any_deadline_the_sweep_is_rare(loop: FakeLoop) -> None:
    connections: set[Any] = {Connection(loop) for _ in range(10)}
    sweep_of(loop, connections).watch()
    assert loop.advance(100) <= 20


@pytest.mark.parametrize("shortest", [0.0, 0.001, 0.05])
def test_a_tiny_time_out_makes_no_busy_loop(loop: FakeLoop, shortest: float) -> None:
    connections: set[Any] = {Connection(loop)}
    sweep_of(loop, connections, shortest).watch()
    assert loop.advance(10) <= 201


@pytest.mark.parametrize("seed", range(20))
def test_no_deadline_is_missed_in_a_random_life(seed: int, loop: FakeLoop) -> None:
    """Deadlines beyond the shortest time-out need no word; nearer ones are said. Each is met within the gap."""
    chance = random.Random(seed)
    connections: set[Any] = set()
    sweep = sweep_of(loop, connections, shortest=2.0)
    due: dict[Connection, float] = {}
    late: list[float] = []

    def met(connection: Connection) -> None:
        late.append(loop.now - due.pop(connection))
        if chance.random() < 0.5:
            connections.discard(connection)
        elif chance.random() < 0.5:
            connection.deadline = due[connection] = loop.now + 60
            sweep.look_at(connection.deadline)

    for _ in range(300):
        move = chance.random()
        if move < 0.3 or not connections:
            connection = Connection(loop, loop.now + chance.uniform(2, 10), met)
            due[connection] = connection.deadline
            connections.add(connection)
            sweep.watch()
        else:
            connection = chance.choice(sorted(connections, key=lambda connection: connection.number))
            if move < 0.6:
                connection.deadline = due[connection] = loop.now + chance.uniform(2, 60)
            elif move < 0.8:
                connection.deadline = due[connection] = loop.now + chance.uniform(0, 2)
                sweep.look_at(connection.deadline)
            elif move < 0.9:
                connection.deadline = inf
                due.pop(connection, None)
            else:
                connections.discard(connection)
                due.pop(connection, None)
        assert len(loop.armed) <= 1
        loop.advance(chance.uniform(0, 1.5))
    loop.advance(100)
    assert all(when > loop.now - 0.0501 for when in due.values()), (loop.now, due)
    assert late
    assert all(0 <= delay <= 0.0501 for delay in late), max(late)
