"""The clock of all connections of a server: one sweep looks at every deadline, instead of a timer per connection.

A connection has a `deadline` (seconds on the monotonic clock, which is the loop's; infinity: none) and an
`expired(now)`. The sweep runs when the earliest deadline that it saw has come, and not before the shortest time-out has
passed: whatever a connection sets meanwhile lies further away. Who sets a nearer one says so (`look_at`). With no
connection open nothing runs.

Where something held up the loop past a deadline, a client may have met it: its octets wait to be read. uvloop can run
its timers before it looks at its sockets again, so a sweep that comes late waits for one more turn of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_MIN_GAP = 0.05  # seconds; deadlines that lie closer together share a sweep
_LATE = 0.01  # seconds; more is no matter of a timer's precision


class Sweep:
    """Ends connections whose deadline has passed. Belongs to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connections: Iterable[Any], shortest: float) -> None:
        self._loop = loop
        self._connections = connections
        self._shortest = max(shortest, _MIN_GAP)
        self._timer: asyncio.TimerHandle | None = None
        self._when = 0.0
        self._put_off = False

    def watch(self) -> None:
        """Say that a connection was opened."""
        if self._timer is None:
            self._arm(self._loop.time() + self._shortest)

    def look_at(self, deadline: float) -> None:
        """Say that a deadline was set that lies nearer than the shortest time-out."""
        if self._timer is None or self._when > deadline:
            self._arm(deadline)

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._when = when
        self._timer = self._loop.call_at(when, self._run)

    def _run(self) -> None:
        self._timer = None
        now = self._loop.time()
        if now - self._when > _LATE and not self._put_off:
            self._put_off = True
            self._arm(now + _MIN_GAP)
            return
        self._put_off = False
        soonest = now + self._shortest
        watched = False
        for connection in list(self._connections):
            deadline = getattr(connection, "deadline", None)
            if deadline is None:
                continue  # a custom protocol, which keeps its own time
            watched = True
            if deadline <= now:
                connection.expired(now)
                deadline = connection.deadline
            soonest = min(soonest, deadline)
        # A deadline that `expired` left in the past is looked at again after the gap.
        # Not only if no timer is armed: the end of one connection may have armed one far behind the others' deadlines.
        if watched:
            self.look_at(max(soonest, now + _MIN_GAP))
