"""Does a worker's event loop still move? No I/O: what was read goes in, what to do comes out.

The loop itself writes the heartbeat, and until when the next one is due; a thread would go on beating while the loop is
blocked. A beat that is overdue by `limit` seconds means that the loop has stood still for `limit` at least, and for no
more than a beat longer: where the limit is short hearts beat faster, and the look comes when the limit can have passed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from uvicorn.config import Config

BEAT = 1.0
"""Seconds between two heartbeats, and between two looks at them; less where the limit is short."""
_BEATS_IN_LIMIT = 8
_SHORTEST_BEAT = 0.05
_TOLERANCE = 0.1
_OVERSLEPT = 0.5
"""Seconds by which a look may come late. Later it says nothing: the machine was suspended, or we did not run, and
neither did they."""
_SAY_AGAIN = 60.0


class Verdict(Enum):
    WELL = "its loop moves"
    SLOW = "its loop has not moved for a while: say where it is stuck"
    HUNG = "its loop has not moved for as long as it may: replace it"
    STOPPED = "somebody has stopped the process, or traces it: its loop cannot move"


class Thresholds(NamedTuple):
    """Seconds without a movement."""

    say: float = 5.0
    replace: float = 30.0

    @classmethod
    def of(cls, healthcheck: float, *, given: bool) -> Thresholds:
        """Return what `timeout_worker_healthcheck` means: given, it is the time of both; 0 turns both off."""
        if not given:
            return cls()
        limit = healthcheck if healthcheck > 0 else math.inf
        return cls(limit, limit)

    @classmethod
    def of_config(cls, config: Config) -> Thresholds:
        return cls.of(config.timeout_worker_healthcheck, given=config.is_given("timeout_worker_healthcheck"))

    @property
    def first(self) -> float:
        return min(self.say, self.replace)

    @property
    def period(self) -> float:
        """The seconds between two heartbeats."""
        return min(BEAT, max(_SHORTEST_BEAT, self.replace / _BEATS_IN_LIMIT))


def limit_at(due: float, limit: float = 0.0) -> float:
    """Return when a loop whose next beat was to come at `due` has stood still for `limit` at least."""
    return due + _TOLERANCE + limit


def judge(
    *, now: float, due: float, late: float, said_at: float | None, thresholds: Thresholds, process_state: str
) -> Verdict:
    """Return what it means that the next heartbeat was to come at the time `due`.

    `late`: by how much this look is; `said_at`: when this worker's stack was logged last; `process_state`: the kernel's
    letter for it (proc(5)).
    """
    if late > _OVERSLEPT or now < limit_at(due, thresholds.first):
        return Verdict.WELL
    if process_state in "Tt":
        return Verdict.STOPPED
    if now >= limit_at(due, thresholds.replace):
        return Verdict.HUNG
    if said_at is None or now - said_at >= _SAY_AGAIN:
        return Verdict.SLOW
    return Verdict.WELL


def next_look(now: float, late: float, dues: Iterable[float], thresholds: Thresholds) -> float:
    """Return when to look again: in a second, or when one of those whose beats are `dues` may have reached a limit."""
    latest = now + BEAT
    if late > _OVERSLEPT:  # they have not run either: give them the time to
        return latest
    limits = (limit_at(due, limit) for due in dues for limit in thresholds)
    return min((at for at in limits if now < at < latest), default=latest)
