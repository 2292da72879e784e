"""What all workers together have done since the master began, those that are gone included. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from uvicorn.record import Record

from .scoreboard import Row


class Totals(Record):
    __slots__ = ("began", "errors", "lost", "requests", "started")

    def __init__(self, began: float, requests: int = 0, errors: int = 0, started: int = 0, lost: int = 0) -> None:
        self.began = began
        """When the master started, on the monotonic clock, which an upgrade in place does not change."""
        self.requests = requests
        """Answered by workers that are gone. Of one that was killed, those of its last second may be missing."""
        self.errors = errors
        """Of these, answered with a status from 500 on."""
        self.started = started
        """Workers that were forked."""
        self.lost = lost
        """Workers that ended although nobody had asked them to."""

    def fold(self, row: Row) -> None:
        """Add what a worker wrote last; it is gone."""
        self.requests += row.requests
        self.errors += row.errors

    def with_living(self, rows: Iterable[Row]) -> Totals:
        """Return the totals including workers that live."""
        rows = list(rows)
        totals = Totals(**self.to_json())
        totals.requests += sum(row.requests for row in rows)
        totals.errors += sum(row.errors for row in rows)
        return totals

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Totals:
        """Return the totals that `to_json` wrote."""
        return cls(**values)
