"""Looks at the workers, once a second or oftener: do they move, are they too old, too big? Asks where they are stuck.

The verdicts are in `liveness` and `recycling`; here is the reading of scoreboard, /proc and the witnesses' files.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable

from . import witness
from .handle import WorkerHandle
from .liveness import Thresholds, Verdict, judge, limit_at, next_look
from .recycling import Recycling
from .report import seconds
from .worker import Event, State

logger = logging.getLogger("uvicorn.error")

TIME_TO_ANSWER = 0.25
"""Seconds that a witness has; faulthandler needs milliseconds."""


class _Patient:
    __slots__ = ("asked_at", "said_at", "samples", "stopped", "why")

    def __init__(self) -> None:
        self.said_at: float | None = None
        self.stopped = False
        self.asked_at: float | None = None
        self.why = ""
        self.samples: list[int] = []


class Health:
    """Feeds `LOOP_BLOCKED` and `LOOP_MOVED`, and marks workers that are to be replaced."""

    def __init__(
        self, thresholds: Thresholds, recycling: Recycling, feed: Callable[[WorkerHandle, Event], None]
    ) -> None:
        self.thresholds = thresholds
        self.recycling = recycling
        self._feed = feed
        self._due = -math.inf
        self._patients: dict[int, _Patient] = {}
        self.wake_at = math.inf
        """When to look next; infinity while nobody serves."""

    def look(self, workers: Iterable[WorkerHandle], now: float) -> None:
        """Look at everybody, if it is time."""
        workers = list(workers)
        self._patients = {w.id: self._patients.get(w.id) or _Patient() for w in workers}
        for worker in workers:
            patient = self._patients[worker.id]
            if patient.asked_at is not None and now >= patient.asked_at + TIME_TO_ANSWER:
                self.hear(worker)
        if now >= self._due:
            late = now - self._due
            beats = [self._look_at(worker, self._patients[worker.id], now, late) for worker in workers]
            self._due = next_look(now, late, beats, self.thresholds)
        waiting = [p.asked_at + TIME_TO_ANSWER for p in self._patients.values() if p.asked_at is not None]
        self.wake_at = min([self._due if workers else math.inf, *waiting])

    def _look_at(self, worker: WorkerHandle, patient: _Patient, now: float, late: float) -> float:
        """Look at one worker, `late` seconds after the time for it; return when its next heartbeat is due."""
        if worker.row is None or worker.pid is None or worker.board is None:
            return math.inf
        row = worker.board.read(worker.row)
        if worker.state is State.READY and worker.fit:
            self._recycle(worker, patient, now)
        if row.id != worker.id or not row.beat or worker.state not in (State.READY, State.DRAINING, State.HUNG):
            return math.inf
        verdict = judge(
            now=now,
            due=row.due,
            late=late,
            said_at=patient.said_at,
            thresholds=self.thresholds,
            process_state=_process_state(worker.pid) if now >= limit_at(row.due, self.thresholds.first) else "S",
        )
        still = seconds(max(0.0, now - row.beat))
        if verdict is not Verdict.STOPPED and patient.stopped:
            patient.stopped = False
            logger.info("%s runs again", worker)
        if worker.state is State.HUNG:
            if now < limit_at(row.due):
                logger.warning("%s moves again; it leaves when its requests are done", worker)
                self._feed(worker, Event.LOOP_MOVED)
        elif verdict is Verdict.STOPPED and not patient.stopped:
            patient.stopped = True
            logger.warning("%s was stopped (SIGSTOP, or a debugger); SIGCONT lets it run again", worker)
        elif verdict is Verdict.SLOW:
            self._ask(worker, patient, now, f"has an event loop that has not moved for {still}")
        elif verdict is Verdict.HUNG:
            worker.why = f"its event loop did not move for {still}"
            self._ask(worker, patient, now, f"is replaced: its event loop has not moved for {still}")
            self._feed(worker, Event.LOOP_BLOCKED)
        return float(row.due)

    def _recycle(self, worker: WorkerHandle, patient: _Patient, now: float) -> None:
        why = self.recycling.verdict(worker, patient.samples, now)
        if why:
            worker.fit = False
            logger.info("%s is to be replaced: %s", worker, why)

    # -- witnesses --

    def _ask(self, worker: WorkerHandle, patient: _Patient, now: float, why: str) -> None:
        if worker.dump_fd is None or worker.process is None:
            return
        patient.said_at = patient.asked_at = now
        patient.why = why
        os.ftruncate(worker.dump_fd, 0)
        os.lseek(worker.dump_fd, 0, os.SEEK_SET)
        # In this order: faulthandler loses errno. If its signal came just when a call has returned because of the other
        # one, that call would seem to have failed for no reason: libuv aborts the process then.
        worker.process.kill(witness.stack_signal())
        worker.process.kill(witness.requests_signal())

    def dump(self, worker: WorkerHandle, now: float) -> None:
        """Ask a worker for its stacks because the operator wants to see them; not while it still answers."""
        patient = self._patients.setdefault(worker.id, _Patient())
        if patient.asked_at is None:
            self._ask(worker, patient, now, "was asked for its stacks")
        self.wake_at = min(self.wake_at, now + TIME_TO_ANSWER)

    def ask_before_the_kill(self, worker: WorkerHandle, now: float) -> bool:
        """Ask a worker whose time is over where it is; False: it cannot be asked."""
        if worker.process is None or worker.dump_fd is None:
            return False
        self._ask(worker, self._patients.setdefault(worker.id, _Patient()), now, "was here when its time was over")
        return True

    def awaits(self, worker: WorkerHandle) -> bool:
        """Say whether a worker was asked a moment ago, and has not begun to answer."""
        patient = self._patients.get(worker.id)
        asked = patient is not None and patient.asked_at is not None and worker.dump_fd is not None
        return asked and os.fstat(worker.dump_fd or 0).st_size == 0

    def hear(self, worker: WorkerHandle) -> None:
        """Log what a worker has said, if it was asked: at the latest before it is killed."""
        patient = self._patients.get(worker.id)
        if patient is None or patient.asked_at is None or worker.dump_fd is None:
            return
        patient.asked_at = None
        size = os.fstat(worker.dump_fd).st_size
        requests, stacks = witness.split(os.pread(worker.dump_fd, min(size, 200_000), 0).decode(errors="replace"))
        worker.inside = requests[0] if requests else ""
        inside = "; requests inside it:\n  " + "\n  ".join(requests) if requests else ""
        logger.warning("%s %s%s\n%s", worker, patient.why, inside, stacks or "(it did not say where it is)")


def _process_state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "?"
