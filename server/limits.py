"""Verdicts on how much is too much. No I/O: numbers and the time in, a decision out."""

from __future__ import annotations

import sys


class LogBudget:
    """Lets a few lines a second through and counts the rest: a flood of bad requests is no flood of log lines."""

    __slots__ = ("_dropped", "_since", "_used", "per_second")

    def __init__(self, per_second: int = 10) -> None:
        self.per_second = per_second
        self._since = float("-inf")
        self._used = 0
        self._dropped = 0

    def spend(self, now: float) -> int | None:
        """Return None to say nothing, else how many lines were swallowed since the last one that was let through."""
        if now - self._since >= 1.0:
            self._since = now
            self._used = 0
        if self._used >= self.per_second:
            self._dropped += 1
            return None
        self._used += 1
        dropped, self._dropped = self._dropped, 0
        return dropped


def over_concurrency(limit: int | None, connections: int, tasks: int) -> bool:
    """Whether a request that is among `connections` already, and about to be a task, is one too many."""
    return limit is not None and (connections >= limit or tasks >= limit)


def connection_cap(limit: int | None, open_files: int) -> int:
    """How many connections to hold at most: `limit`, or what the limit on open files leaves to them.

    A hundred descriptors stay for the application (files, databases, sub-processes) and for answering that it is full.
    """
    if limit is not None:
        return limit
    return max(open_files - 100, 16) if open_files >= 0 else sys.maxsize  # RLIM_INFINITY is -1
