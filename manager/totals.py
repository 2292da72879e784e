"""What all workers together have done since the master began, those that are gone included. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from .scoreboard import Row


@dataclass(slots=True)
class Totals:
    began: float
    """When the master started, on the monotonic clock, which an upgrade in place does not change."""
    requests: int = 0
    """Answered by workers that are gone. Of one that was killed, those of its last second may be missing."""
    errors: int = 0
    """Of these, answered with a status from 500 on."""
    started: int = 0
    """Workers that were forked."""
    lost: int = 0
    """Workers that ended although nobody had asked them to."""

    def fold(self, row: Row) -> None:
        """Add what a worker wrote last; it is gone."""
        self.requests += row.requests
        self.errors += row.errors

    def with_living(self, rows: Iterable[Row]) -> Totals:
        """Return the totals including workers that live."""
        rows = list(rows)
        return replace(
            self,
            requests=self.requests + sum(row.requests for row in rows),
            errors=self.errors + sum(row.errors for row in rows),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Totals:
        """Return the totals that `to_json` wrote."""
        return cls(**values)
