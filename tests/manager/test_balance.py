"""Whose turn it is to accept: every case of the decision, and workers in a model that make it together."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest

from uvicorn.manager import balance
from uvicorn.manager.balance import (
    ALLOWANCE,
    CHURN_PERIOD,
    CHURN_RATE,
    DEAF_AFTER,
    LONGEST_PAUSE,
    MOST_AT_ONCE,
    PAUSE_EACH,
    PEAK_LASTS,
    TOLERATED,
    Churn,
    Connections,
    Patience,
    excess,
)

LATER = 100.0
"""A time at which nothing of the time 0 is remembered."""


def settled(mine: int) -> Patience:
    """The patience of a worker that has had `mine` connections for long, at the time LATER."""
    patience = Patience()
    patience.turn(LATER - 3 * PEAK_LASTS, mine, [(mine, 0, 1)], 0.0)
    return patience


def test_every_pair_of_counts() -> None:
    for mine, least in itertools.product(range(41), range(41)):
        turn = settled(mine).turn(LATER, mine, [(least, 5, 1), (least + 3, 7, 2)], 0.0)
        over = mine - (least + TOLERATED + least // 16)
        assert excess(mine, least) == over
        if over > 0:
            assert turn == (0, min(over * PAUSE_EACH, LONGEST_PAUSE)), (mine, least)
        else:
            assert turn == (min(1 - over, MOST_AT_ONCE), 0.0), (mine, least)
            assert excess(mine + turn[0] - 1, least) <= 0, (mine, least)


@pytest.mark.parametrize("mine", [0, 1, 5, 1000])
def test_who_is_alone_accepts_all(mine: int) -> None:
    assert settled(mine).turn(LATER, mine, [], 0.0) == (MOST_AT_ONCE, 0.0)


def test_who_was_fuller_a_moment_ago_may_be_so_again_and_not_fuller() -> None:
    patience = Patience()
    assert patience.turn(LATER, 12, [(12, 0, 1)], 0.0)[0] > 0
    now = LATER + 0.1
    assert patience.turn(now, 8, [(0, 0, 1)], 0.0) == (4, 0.0)
    assert patience.turn(now, 12, [(0, 0, 1)], 0.0)[0] == 0
    now = LATER + 2 * PEAK_LASTS + 0.1
    assert patience.turn(now, 8, [(0, 0, 1)], 0.0)[0] == 0


def wait_in_turn(patience: Patience, mine: int, rivals, now: float = LATER) -> tuple[float, int]:
    """Wait as often as it says; return for how long it was, and what it accepts then."""
    total = waited = 0.0
    while True:
        looks, pause = patience.turn(now + total, mine, rivals() if callable(rivals) else rivals, waited)
        if looks:
            return total, looks
        total += pause
        waited = pause


def test_who_does_not_look_is_not_waited_for_again_until_it_does() -> None:
    patience = settled(9)
    blocked = [(0, 5, 1), (9, 0, 2)]
    total, _ = wait_in_turn(patience, 9, blocked)
    assert DEAF_AFTER <= total <= DEAF_AFTER + 2 * LONGEST_PAUSE
    for _ in range(100):
        assert patience.turn(LATER + 1, 9, blocked, 0.0)[1] == 0.0
    assert patience.turn(LATER + 2, 9, [(0, 6, 1), (9, 0, 2)], 0.0)[1] > 0.0


def test_all_others_blocked_means_no_waiting() -> None:
    patience = settled(9)
    blocked = [(0, 5, 1), (1, 5, 2), (2, 5, 3)]
    wait_in_turn(patience, 9, blocked)
    assert patience.turn(LATER + 1, 9, blocked, 0.0)[0] > 0


def test_waiting_for_one_that_looks_but_takes_nothing_uses_the_allowance_up() -> None:
    patience = settled(9)
    looks = itertools.count()
    total, _ = wait_in_turn(patience, 9, lambda: [(0, next(looks), 1)])
    assert total + LONGEST_PAUSE >= ALLOWANCE
    assert total <= ALLOWANCE * 1.2 + LONGEST_PAUSE
    # And what comes back of it is a tenth of the time.
    waited = last = 0.0
    for turn in range(10_000):
        now = LATER + 1 + turn * 0.01
        last = patience.turn(now, 9, [(0, next(looks), 1)], last)[1]
        waited += last
    assert waited <= 100 * balance.ALLOWANCE_BACK + ALLOWANCE + LONGEST_PAUSE


def test_set_of_connections_tells_of_each_end() -> None:
    sizes: list[int] = []
    connections: Connections = Connections(lambda: sizes.append(len(connections)))
    connections.add("a")
    connections.add("b")
    connections.discard("a")
    connections.remove("b")
    assert sizes == [1, 0]


# -- Workers in a model: one clock, one queue, each with its own pace --


@dataclass
class Worker:
    row: int
    pace: float
    """Seconds between two turns of its loop."""
    patience: Patience = field(default_factory=Patience)
    connections: int = 0
    looks: int = 0
    allowed: int = 0
    blocked_until: float = 0.0
    next_turn: float = 0.0
    pause: float = 0.0


@dataclass
class Model:
    workers: list[Worker]
    now: float = LATER
    queue: int = 0
    longest_queued: float = 0.0

    def run(self, until: float = float("inf")) -> None:
        """Let the workers accept until nothing waits, or it is that late."""
        began = self.now
        while self.queue:
            worker = min(self.workers, key=lambda one: (max(one.next_turn, one.blocked_until), one.row))
            self.now = max(self.now, worker.next_turn, worker.blocked_until)
            if self.now > until:
                break
            self.turn(worker)
        self.longest_queued = max(self.longest_queued, self.now - began)

    def turn(self, worker: Worker) -> None:
        waited, worker.pause = worker.pause, 0.0
        worker.next_turn = self.now + worker.pace
        worker.looks += 1
        if not worker.allowed:
            rivals = [(one.connections, one.looks, one.row) for one in self.workers if one is not worker]
            worker.allowed, worker.pause = worker.patience.turn(self.now, worker.connections, rivals, waited)
            if worker.pause:
                worker.next_turn = self.now + worker.pause
                return
        taken = min(worker.allowed, self.queue)
        worker.allowed -= taken
        self.queue -= taken
        worker.connections += taken

    def shares(self) -> list[int]:
        return [worker.connections for worker in self.workers]


@pytest.mark.parametrize("seed", range(300))
def test_sixty_four_connections_fall_evenly_on_four_workers(seed: int) -> None:
    """At once, one by one and in between; however unequal the paces of the workers are."""
    dice = random.Random(seed)
    model = Model([Worker(row, dice.uniform(0.0001, 0.003)) for row in range(4)])
    left = 64
    while left:
        arriving = min(left, 64 if seed % 3 == 0 else 1 if seed % 3 == 1 else dice.randint(1, 20))
        left -= arriving
        model.queue += arriving
        model.run()
        model.now += dice.choice([0.0, 0.0005, 0.01])
    assert sum(model.shares()) == 64
    assert max(model.shares()) <= 18, model.shares()  # 1.125 times the mean


@pytest.mark.parametrize("seed", range(50))
def test_others_take_everything_while_one_is_blocked(seed: int) -> None:
    dice = random.Random(seed)
    model = Model([Worker(row, dice.uniform(0.0001, 0.002)) for row in range(4)])
    model.workers[0].blocked_until = LATER + 60
    for _ in range(30):
        model.queue += dice.randint(1, 10)
        model.run(until=LATER + 50)
        assert not model.queue
    assert model.workers[0].connections == 0
    assert model.longest_queued < DEAF_AFTER + 3 * LONGEST_PAUSE
    busy = model.shares()[1:]
    assert max(busy) - min(busy) <= MOST_AT_ONCE + TOLERATED + 1, busy


@pytest.mark.parametrize("seed", range(100))
def test_connections_that_end_unevenly_leave_nobody_aside(seed: int) -> None:
    """One worker has lost all of its own: it gets what comes, and nobody waits long for it."""
    dice = random.Random(seed)
    model = Model([Worker(row, dice.uniform(0.0001, 0.002), connections=50) for row in range(4)])
    model.queue = 4
    model.run()
    model.workers[0].connections = 0
    model.now += 3 * PEAK_LASTS
    before = model.shares()
    for _ in range(30):
        model.queue += 1
        model.run()
        model.now += 0.01
    gained = [now - then for now, then in zip(model.shares(), before, strict=True)]
    assert gained[0] >= 30 - 3 * MOST_AT_ONCE
    assert model.longest_queued < ALLOWANCE


def test_nobody_waits_where_connections_end_as_fast_as_they_come() -> None:
    churn = Churn()
    assert not churn.goes_on(100.0)
    for _ in range(2 * int(CHURN_RATE * CHURN_PERIOD)):
        churn.ended()
    assert not churn.goes_on(100.0 + CHURN_PERIOD / 2), "the period is not over"
    assert churn.goes_on(100.0 + CHURN_PERIOD * 1.1)
    assert churn.goes_on(100.0 + CHURN_PERIOD * 2), "until the next one is over"
    assert not churn.goes_on(100.0 + CHURN_PERIOD * 2.2)


def test_many_that_end_after_a_long_time_are_no_churn() -> None:
    churn = Churn()
    churn.goes_on(100.0)
    for _ in range(2 * int(CHURN_RATE * CHURN_PERIOD)):
        churn.ended()
    assert not churn.goes_on(110.0)
