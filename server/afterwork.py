"""What the application goes on with behind its answers: tasks of its own, in an event loop that ends with the server.

They begin while it serves, and nobody knows how long they take: a mail is sent, a counter written, a thread waited for.
At the end of the loop they would be cancelled in their middle, and a thread among them, if it is a daemon, killed by
the end of the interpreter, which some native code does not survive. So a stop leaves them a moment. What the
application began before it served (its lifespan does so) is there for good, and not waited for.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

MOMENT = 0.3
"""Seconds. Upstream looks ten times a second whether to stop, and gives that work about two thirds of it."""


class Afterwork:
    """Made in the running loop when it begins to serve."""

    def __init__(self) -> None:
        self._there_before: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet(asyncio.all_tasks())

    async def wait(self, limit: float | None) -> None:
        """Wait until all of it is done, for `limit` seconds at most, and for MOMENT in any case."""
        own = asyncio.current_task()
        tasks = {task for task in asyncio.all_tasks() if task is not own and task not in self._there_before}
        if tasks:
            await asyncio.wait(tasks, timeout=MOMENT if limit is None else min(limit, MOMENT))
