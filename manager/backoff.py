"""When may a slot whose worker failed be filled again? No I/O, no clock: times and the jitter come in as numbers.

A worker that ran well and dies is replaced at once. One that dies young is replaced at once the first time, too, and
then after 0.1 s, 0.2 s, 0.4 s ... up to 30 s. When the code itself is broken the workers of all slots die young
together, and a delay per slot alone would still start a process a second; so young deaths are also counted over all
slots, and that count delays every slot once it exceeds one death per slot.
"""

from __future__ import annotations

FIRST_DELAY = 0.1
"""Seconds before the second attempt; doubles with each failure."""
LONGEST_DELAY = 30.0
SETTLED_AFTER = 10.0
"""Seconds of ready after which a worker counts as healthy, and its slot's failures are forgotten."""
JITTER = 0.25
"""A delay varies by up to this part of itself, so that slots which failed together do not start together."""


class Backoff:
    """The crash history of all slots.

    Times are seconds on one monotonic clock; `jitter` is a random number from 0 to 1.
    """

    def __init__(self) -> None:
        self._failures: dict[int, int] = {}
        self._fleet = 0

    def failed(self, slot: int, now: float, *, slots: int, jitter: float = 0.5) -> float:
        """Return when `slot` may be filled again after its worker died young; `slots`: how many are wanted."""
        self._failures[slot] = self._failures.get(slot, 0) + 1
        self._fleet += 1
        delay = max(_delay(self._failures[slot] - 1), _delay(self._fleet - slots))
        return now + delay * (1 - JITTER + 2 * JITTER * jitter)

    def settled(self, slot: int) -> None:
        """Forget the failures of `slot`: its worker has been ready for SETTLED_AFTER seconds."""
        if self._failures.pop(slot, 0):
            self._fleet = sum(self._failures.values())

    def forget(self) -> None:
        """Forget everything: new code has proved itself, or is about to be tried."""
        self._failures.clear()
        self._fleet = 0

    def failures(self, slot: int) -> int:
        """How many workers of `slot` died young one after the other."""
        return self._failures.get(slot, 0)


def _delay(exponent: int) -> float:
    if exponent <= 0:
        return 0.0
    # The exponent is bounded as well: 2.0 ** 2000 would raise after a weekend of crashes.
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(exponent - 1, 16))
