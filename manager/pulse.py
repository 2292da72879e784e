"""A worker's heartbeat: what it writes into its row of the scoreboard, from its event loop: once a second, or oftener.

Nothing of this is counted or timed per request. Which request is the oldest is found by looking at the connections: a
request that is seen for the first time is as old as the beat that sees it, so what is told is up to a beat too young.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .liveness import BEAT
from .scoreboard import RowWriter
from .witness import first_line

if TYPE_CHECKING:
    from uvicorn.server import ServerState

_PAGE = os.sysconf("SC_PAGESIZE")


class Pulse:
    def __init__(self, score: RowWriter, state: ServerState, period: float = BEAT) -> None:
        """`period`: the seconds between two beats."""
        self._score = score
        self._state = state
        self.period = period
        self._expected = 0.0
        self._seen: dict[Any, float] = {}
        """The requests in flight at the last beat, and when each was seen first. Held, so that none can be taken for
        another one that lies where it lay."""
        self._shown: Any = None

    def beat(self) -> None:
        now = time.monotonic()
        late = now - self._expected if self._expected else 0.0
        self._expected = now + self.period
        state = self._state
        connections = state.connections
        self._score.beat(
            lag=late,
            connections=len(connections),
            in_flight=len(state.tasks),
            websockets=sum(1 for one in connections if not hasattr(one, "cycle")),
            requests=state.total_requests,
            errors=state.total_errors,
            period=self.period,
        )
        self._score.memory(own_memory())
        self._show_oldest(connections, now)

    def _show_oldest(self, connections: Iterable[Any], now: float) -> None:
        before = self._seen
        cycles = [cycle for one in connections if (cycle := getattr(one, "cycle", None)) is not None]
        self._seen = seen = {cycle: before.get(cycle, now) for cycle in cycles}
        oldest = min(seen, key=seen.__getitem__, default=None)
        if oldest is not None and seen.get(self._shown) == seen[oldest]:
            return  # several are as old as that
        if oldest is not self._shown:
            self._shown = oldest
            if oldest is None:
                self._score.oldest(0.0, "")
            else:
                self._score.oldest(seen[oldest], first_line(oldest.scope))


def own_memory() -> int:
    """Return the bytes of memory of this process that are not those of files; 0 where /proc does not tell (proc(5))."""
    try:
        with open("/proc/self/statm", "rb") as file:
            fields = file.read().split()
        return (int(fields[1]) - int(fields[2])) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
