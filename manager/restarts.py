"""When a slot whose worker failed is filled again: the back-off, fed with what the master sees."""

from __future__ import annotations

from collections.abc import Iterable

from .backoff import SETTLED_AFTER, Backoff
from .handle import WorkerHandle
from .report import seconds


class Restarts:
    def __init__(self) -> None:
        self._backoff = Backoff()
        self.not_before: dict[int, float] = {}
        """When a slot may be filled, for those that have to wait."""

    def failed(self, worker: WorkerHandle, workers: Iterable[WorkerHandle], wanted: int, now: float) -> None:
        """Count the end of a worker that nobody asked to go; `workers` are those that are left."""
        for other in workers:
            if other.ready_at is not None and now - other.ready_at >= SETTLED_AFTER and not other.settled:
                other.settled = True
                self._backoff.settled(other.slot)
        if worker.ready_at is not None and now - worker.ready_at >= SETTLED_AFTER:
            self._backoff.settled(worker.slot)
            self.not_before.pop(worker.slot, None)
        else:
            from random import random  # a master that loses no worker does without

            self.not_before[worker.slot] = self._backoff.failed(worker.slot, now, slots=wanted, jitter=random())

    def hold(self, slot: int, until: float) -> None:
        """Leave the slot as it is until then, at least."""
        self.not_before[slot] = max(until, self.not_before.get(slot, until))

    def what_next(self, worker: WorkerHandle, wanted: int, now: float) -> str:
        """Return what the log says about the slot of a worker that has just failed."""
        if worker.slot > wanted:
            return ""
        delay = self.not_before.get(worker.slot, now) - now
        return "replacing it" if delay <= 0 else f"replacing it in {seconds(delay)}"

    def forget(self) -> None:
        """Forget all failures: new code is about to be tried."""
        self._backoff.forget()
        self.not_before.clear()
