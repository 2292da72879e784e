"""Whose turn is it to accept? Workers that share a socket leave connections to those of them that have fewer.

Event loops accept whatever waits, so without this one worker takes a whole burst. A worker that is about to accept
looks at the scoreboard. If it has clearly more connections than the least loaded worker it leaves what waits to the
others for a moment, and looks again. It never waits for good, whatever the others do:

- who does not come to ask for its turn while it is waited for is blocked, stopped or dead. It no longer counts until it
  is heard of;
- where connections end as fast as they come nobody waits: it is work that is to be spread, and not connections;
- waiting has an allowance, which comes back slowly: where connections come faster than the least loaded workers accept
  them, what is to be spread is work, not connections, and everybody takes what there is.

`Patience` is the decision, without I/O; `Balance` reads and writes the scoreboard for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from .scoreboard import Rival, Scoreboard

TOLERATED = 2
"""Connections above the least loaded worker's. 0 would be exact, and cost three quarters of the rate of new ones."""
TOLERATED_PART = 16
"""And one more for so many of the least loaded worker's."""
PAUSE_EACH = 0.002  # seconds for each connection beyond that
LONGEST_PAUSE = 0.008
DEAF_AFTER = 0.02  # seconds of waiting for a worker that does not look for connections
ALLOWANCE = 0.1  # seconds of waiting while connections wait too
ALLOWANCE_BACK = 0.1  # seconds a second
MOST_AT_ONCE = 16  # connections to accept before looking at the others again
PEAK_LASTS = 0.5  # seconds, and up to twice as long
CHURN_PERIOD = 0.1  # seconds
CHURN_RATE = 400.0  # ended connections a second, of one worker
FRESH = 2.5  # seconds since the last heartbeat after which a worker no longer counts


def excess(mine: int, theirs: int) -> int:
    """Return how many more connections than tolerated `mine` are beside `theirs`; 0 or less: none."""
    return mine - theirs - TOLERATED - theirs // TOLERATED_PART


class Patience:
    """What one worker remembers of its connections and of its waiting."""

    __slots__ = ("_allowance", "_awaited", "_deaf", "_peak", "_peak_before", "_peak_since", "_since", "_waited")

    def __init__(self) -> None:
        self._peak = self._peak_before = 0  # connections, of this period and of the one before
        self._peak_since = 0.0
        self._allowance = ALLOWANCE
        self._since = 0.0  # when the allowance was reckoned
        self._waited = 0.0  # for the rivals in _awaited
        self._awaited: dict[int, int] = {}  # row -> how often that worker had looked when the waiting for it began
        self._deaf: dict[int, int] = {}  # the same of those that were waited for in vain

    def turn(self, now: float, mine: int, rivals: Sequence[Rival], waited: float) -> tuple[int, float]:
        """Return how many to accept; of 0, for how many seconds to leave what waits to `rivals`.

        `now` is a clock's time in seconds; `waited`: how long it was left to them just before, 0 for a new one.
        """
        room = self._room_below_peak(now, mine)
        if self._deaf:
            rivals = [rival for rival in rivals if self._deaf.get(rival[2]) != rival[1]]
        over = excess(mine, min(rivals)[0]) if rivals else -MOST_AT_ONCE
        if over <= 0 or room > 0:
            return min(MOST_AT_ONCE, max(1 - over, room)), 0.0
        self._allowance = min(ALLOWANCE, self._allowance + (now - self._since) * ALLOWANCE_BACK) - waited
        self._since = now
        if not waited:
            self._wait_for(mine, rivals)
        elif (waited_for_them := self._waited + waited) < DEAF_AFTER:
            self._waited = waited_for_them
        else:
            silent = {row: looks for _, looks, row in rivals if self._awaited.get(row) == looks}
            if silent:
                self._deaf |= silent
                rivals = [rival for rival in rivals if rival[2] not in silent]
                if not rivals or (over := excess(mine, min(rivals)[0])) <= 0:
                    return 1, 0.0
            self._wait_for(mine, rivals)
        if self._allowance <= 0:
            return 1, 0.0
        return 0, min(LONGEST_PAUSE, over * PAUSE_EACH)

    def _room_below_peak(self, now: float, mine: int) -> int:
        if (age := now - self._peak_since) >= PEAK_LASTS:
            self._peak_before = self._peak if age < 2 * PEAK_LASTS else mine
            self._peak = mine
            self._peak_since = now
        elif mine > self._peak:
            self._peak = mine
        return max(self._peak, self._peak_before) - mine

    def _wait_for(self, mine: int, rivals: Sequence[Rival]) -> None:
        self._awaited = {row: looks for theirs, looks, row in rivals if excess(mine, theirs) > 0}
        self._waited = 0.0


class Churn:
    """Whether connections come and go so fast that it is work that is to be spread, and not connections."""

    __slots__ = ("_ended", "_goes_on", "_since")

    def __init__(self) -> None:
        self._ended = 0
        self._since = 0.0
        self._goes_on = False

    def ended(self) -> None:
        self._ended += 1

    def goes_on(self, now: float) -> bool:
        """Return what the last whole period was like; `now` is a clock's time in seconds."""
        if (age := now - self._since) >= CHURN_PERIOD:
            self._goes_on = self._ended >= CHURN_RATE * age
            self._ended = 0
            self._since = now
        return self._goes_on


class Connections(set[Any]):
    """The connections of a worker; tells when one has ended. That one has begun the gate knows before."""

    def __init__(self, ended: Callable[[], None]) -> None:
        super().__init__()
        self._ended = ended

    def discard(self, connection: object) -> None:
        super().discard(connection)
        self._ended()

    def remove(self, connection: object) -> None:
        super().remove(connection)
        self._ended()


class Balance:
    """The `Gate` of a worker's acceptors."""

    def __init__(self, board: Scoreboard, row: int, count: Callable[[], int]) -> None:
        """`count` returns how many connections this worker has, those among them that were accepted just now."""
        self._board = board
        self._row = row
        self._score = board.writer(row)
        self._count = count
        self._patience = Patience()
        self._churn = Churn()

    def publish(self) -> None:
        """Let the others know how many connections this worker has."""
        self._score.connections(self._count())

    def ended(self) -> None:
        """Take note that a connection has ended."""
        self._churn.ended()
        self.publish()

    def ask(self, waited: float) -> tuple[int, float]:
        now = time.monotonic()
        self._score.looked()
        if self._churn.goes_on(now):
            return MOST_AT_ONCE, 0.0
        rivals = self._board.rivals(self._row, fresh=FRESH)
        return self._patience.turn(now, self._count(), rivals, waited)

    def looked(self, accepted: int) -> None:
        if accepted:
            self.publish()
        else:
            self._score.looked()
