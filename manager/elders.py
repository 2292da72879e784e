"""Workers that a program of an unknown version has left: known by their pids, and told by signals.

They serve until the workers of this program do. Then they are sent SIGTERM, which every version understands as a drain,
and are killed if they do not end. Their channels are only held open: at its end a worker would end itself.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import signal
from collections.abc import Iterable, Mapping
from typing import Any

from .loop import Loop, Rank
from .plan import Limits
from .process import Process

logger = logging.getLogger("uvicorn.error")


class Elders:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._processes: dict[Process, int] = {}
        """Each with its channel."""
        self._told = False
        self.wake_at = math.inf
        """When those that are left are killed."""

    def __bool__(self) -> bool:
        return bool(self._processes)

    def adopt(self, workers: Iterable[Mapping[str, Any]]) -> None:
        """Take over workers, of which `pid` and `channel` are known."""
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                process = Process(worker["pid"])
                self._processes[process] = worker["channel"]
                self._loop.watch(process, Rank.DEATHS, functools.partial(self._on_death, process))

    def retire(self, now: float, limits: Limits) -> None:
        """Let them finish their requests and end."""
        if self._processes and not self._told:
            self._told = True
            self.wake_at = now + limits.grace + limits.cleanup + limits.slack
            for process in self._processes:
                logger.info("Terminated child process [%d]", process.pid)
                process.kill(signal.SIGTERM)

    def hurry(self, now: float, limits: Limits) -> None:
        """Wait for them no longer than for a cleanup."""
        self.wake_at = min(self.wake_at, now + limits.cleanup)

    def tick(self, now: float) -> None:
        """Kill who has not ended in time."""
        if now >= self.wake_at:
            self.wake_at = math.inf
            for process in self._processes:
                logger.error("Worker (pid %d) of the version before is killed: it did not end in time", process.pid)
                process.kill(signal.SIGKILL)

    def _on_death(self, process: Process) -> None:
        status = process.reap()
        if status is None:
            return
        if not self._told:
            logger.warning("Worker (pid %d) of the version before exited: %s", process.pid, status)
        self._loop.unwatch(process)
        os.close(self._processes.pop(process))
        process.close()
        if not self._processes:
            self.wake_at = math.inf
