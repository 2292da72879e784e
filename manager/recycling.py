"""When is a worker to be replaced although it works? After so many seconds, or when it has grown too big.

(After so many requests: the worker counts these itself, and says so.)
"""

from __future__ import annotations

from typing import NamedTuple

from .handle import WorkerHandle
from .memory import memory_of

SAMPLES = 3
"""So many looks in a row must find it too big: one large answer is no leak."""
_PERIOD = 5.0
"""Seconds between two measurements of memory."""


class Recycling(NamedTuple):
    lifetime: float = 0.0
    """Seconds; 0: no limit."""
    lifetime_jitter: float = 0.0
    """Up to so many seconds more, so that workers which started together do not end together."""
    memory: int = 0
    """MiB; 0: no limit."""
    period: float = _PERIOD

    def verdict(self, worker: WorkerHandle, samples: list[int], now: float) -> str:
        """Return why the worker is to be replaced; empty: it is not. `samples` is kept from one call to the next."""
        if worker.ready_at is None:
            return ""
        if self.lifetime > 0:
            from random import Random  # not for those who set no lifetime

            limit = self.lifetime + self.lifetime_jitter * Random(worker.id).random()
            if now - worker.ready_at >= limit:
                return f"it has served for {now - worker.ready_at:.0f} s"
        if self.memory > 0 and worker.pid is not None and now >= worker.measured_at + self.period:
            worker.measured_at = now
            size = memory_of(worker.pid)
            if size is not None:
                samples.append(size)
                del samples[:-SAMPLES]
                if len(samples) == SAMPLES and min(samples) > self.memory * 2**20:
                    return f"it takes {size / 2**20:.0f} MiB, more than {self.memory} MiB"
        return ""
