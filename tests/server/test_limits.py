"""Verdicts on how much is too much."""

from __future__ import annotations

import pytest

from uvicorn.config import Config
from uvicorn.server.head import Limits
from uvicorn.server.limits import LogBudget, connection_cap, over_concurrency
from uvicorn.server.service import limits_of


@pytest.mark.parametrize(
    ("limit", "connections", "tasks", "over"),
    [
        (None, 10**6, 10**6, False),
        (3, 1, 0, False),
        (3, 2, 2, False),
        (3, 3, 0, True),
        (3, 0, 3, True),
        (3, 2, 3, True),
        (1, 1, 0, True),  # the connection that asks counts: one refuses everything
    ],
)
def test_concurrency(limit: int | None, connections: int, tasks: int, over: bool) -> None:
    assert over_concurrency(limit, connections, tasks) is over


@pytest.mark.parametrize(
    ("limit", "files", "cap"),
    [
        (None, 1024, 924),
        (None, 65536, 65436),
        (None, 117, 17),
        (None, 116, 16),
        (None, 64, 16),
        (5, 0, 5),
        (2000, 99, 2000),
    ],
)
def test_a_hundred_descriptors_are_left_to_the_application(limit: int | None, files: int, cap: int) -> None:
    assert connection_cap(limit, files) == cap


def test_a_budget_lets_a_few_lines_a_second_through_and_counts_the_rest() -> None:
    budget = LogBudget(per_second=2)
    assert [budget.spend(100.0 + second / 10) for second in range(5)] == [0, 0, None, None, None]
    assert budget.spend(101.0) == 3
    assert budget.spend(101.5) == 0
    assert budget.spend(101.9) is None
    assert budget.spend(500.0) == 1


def test_a_budget_begins_full_at_any_time() -> None:
    for now in (0.0, -5.0, 1e9):
        assert LogBudget(per_second=1).spend(now) == 0


def test_the_second_of_a_budget_begins_with_its_first_line() -> None:
    budget = LogBudget(per_second=1)
    assert budget.spend(10.9) == 0
    assert budget.spend(11.0) is None
    assert budget.spend(11.95) == 1


@pytest.mark.parametrize(
    ("size", "line", "field", "head"),
    [(None, 8190, 16384, 65536), (131072, 131072, 131072, 131072), (4096, 8190, 16384, 4096)],
)
def test_upstreams_one_number_for_a_head_is_kept(size: int | None, line: int, field: int, head: int) -> None:
    config = Config("app:app", log_config=None, h11_max_incomplete_event_size=size)
    assert limits_of(config) == Limits(line=line, field=field, head=head, fields=100)
