"""Workers that begin to end by a stop signal of which the master knows nothing. Yet.

Who signals a whole process group (a terminal, `timeout`, supervisor's stopasgroup) or all processes one after the other
(pkill) means the master too, and workers may have reported their signal before the master reads its own. So the first
of them is only a hint: for a moment nobody is replaced and nothing is said. An order to stop that comes meanwhile has
explained it.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable

SETTLE = 0.2
"""Seconds; who sends the signals one by one needs milliseconds."""

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})


class Hints:
    """What would follow from each hint, if nothing explains it."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, Callable[[], None]]] = []

    @property
    def wake_at(self) -> float:
        """When the first of them is due."""
        return self._waiting[0][0] if self._waiting else math.inf

    def add(self, now: float, conclude: Callable[[], None]) -> float:
        """Keep `conclude` for later; return when it is due."""
        due = now + SETTLE
        self._waiting.append((due, conclude))
        return due

    def due(self, now: float) -> list[Callable[[], None]]:
        """Return what has waited long enough, the oldest first; it is forgotten here."""
        found = [conclude for due, conclude in self._waiting if due <= now]
        del self._waiting[: len(found)]
        return found
