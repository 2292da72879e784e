"""What the master says, in words. One event is one line; texts that tools match are upstream's to the letter."""

from __future__ import annotations

import logging

from .handle import WorkerHandle
from .plan import Phase, Wish
from .process import ExitStatus

logger = logging.getLogger("uvicorn.error")


def parent(text: str, pid: int) -> None:
    """Log that the master starts or stops."""
    message, color_message = (f"{text} parent process [{number}]" for number in ("%d", "\x1b[36m%d\x1b[0m"))
    logger.info(message, pid, extra={"color_message": color_message})


def told_to_go(worker: WorkerHandle) -> None:
    if worker.pid is not None:
        logger.info("Terminated child process [%d]", worker.pid)
        logger.info("Waiting for child process [%d]", worker.pid)


def ended(worker: WorkerHandle, status: ExitStatus, now: float, then: str) -> None:
    """Log a death; `then` says what the master does about it."""
    since = "after" if worker.ready_at is not None else "before it was ready, after"
    why = f"; {worker.why}" if worker.why else ""
    request = f"; inside it: {worker.inside}" if worker.inside else ""
    tail = f"; {then}" if then else ""
    logger.warning("%s exited: %s %s %s%s%s%s", worker, status, since, seconds(now - worker.born), why, request, tail)


def forgotten(worker: WorkerHandle, status: ExitStatus, now: float) -> None:
    """Log the end of a worker that was asked to go: in passing if it ended well, or had not begun to serve."""
    if status.code == 0 or worker.ready_at is None:
        logger.debug("%s exited: %s after %s", worker, status, seconds(now - worker.born))
    else:
        ended(worker, status, now, "")


def seconds(duration: float) -> str:
    if duration < 10:
        return f"{duration:.2g} s" if duration < 1 else f"{duration:.1f} s"
    return f"{duration:.1f} s" if duration < 100 else f"{duration:.0f} s"


def reloaded(ready: int, generation: int, took: float) -> None:
    plural = "" if ready == 1 else "s"
    logger.info("Reloaded: %d worker%s of generation %d in %s", ready, plural, generation, seconds(took))


def rollout_failed(before: Wish, after: Wish, reason: str, older: int, *, whole: bool) -> None:
    """Log that a rolling restart failed, and what is served now; `older`: workers that are not of its generation.

    `whole`: nobody had to make room for the canary, or can come back.
    """
    if before.phase is Phase.CANARY:
        all_of_it = "all of it" if whole else "but for the worker that has made room"
        what, now = "failed", f"generation {before.base} stays, {all_of_it}"
    elif after.target != before.target:
        what, now = "failed", f"going back to generation {after.target}"
    else:
        stay = "worker of an older generation stays" if older == 1 else "workers of an older generation stay"
        what, now = "partial", f"{older} {stay}"
    verb = "Reload is" if what == "partial" else "Reload"
    logger.error("%s %s: %s; %s; correct the cause and send SIGHUP again", verb, what, reason, now)
