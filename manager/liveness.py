"""Does a worker's event loop still move? No I/O: what was read goes in, what to do comes out.

The loop itself writes the heartbeat, once a second; a thread would go on beating while the loop is blocked. A beat that
is `limit` seconds old plus the second between two beats means that the loop has stood still for `limit` at least.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

BEAT = 1.0
"""Seconds between two heartbeats, and between two looks at them."""
_TOLERANCE = 0.1
_OVERSLEPT = 2.5
"""A look that comes so late says nothing: the machine was suspended, or we did not run, and neither did they."""
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
        limit = healthcheck if healthcheck > 0 else float("inf")
        return cls(limit, limit)


def judge(
    *, now: float, beat: float, looked_at: float, said_at: float | None, thresholds: Thresholds, process_state: str
) -> Verdict:
    """Return what a heartbeat of the time `beat` means.

    `looked_at`: when the last look was; `said_at`: when this worker's stack was logged last; `process_state`: the
    kernel's letter for it (proc(5)).
    """
    if now - looked_at > _OVERSLEPT:
        return Verdict.WELL
    still = now - beat - BEAT - _TOLERANCE
    if still < min(thresholds.say, thresholds.replace):
        return Verdict.WELL
    if process_state in "Tt":
        return Verdict.STOPPED
    if still >= thresholds.replace:
        return Verdict.HUNG
    if said_at is None or now - said_at >= _SAY_AGAIN:
        return Verdict.SLOW
    return Verdict.WELL
