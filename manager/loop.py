"""What the master waits for: descriptors that become readable, in an order of importance, and the time."""

from __future__ import annotations

import contextlib
import math
import selectors
import time
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any

from .process import Process


class Rank(IntEnum):
    """What is looked at first when several things have happened: an order before a report, a report before a death."""

    SIGNALS = 0
    TEMPLATES = 1
    WORKERS = 2
    DEATHS = 3


class Loop:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def watch(self, source: Any, rank: Rank, callback: Callable[[], None]) -> None:
        """Call back whenever `source` is readable."""
        self._selector.register(source, selectors.EVENT_READ, (rank, callback))

    def unwatch(self, source: Any) -> None:
        """Forget `source`, if it is known."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(source)

    def wait(self, until: float) -> None:
        """Wait for something to happen, at most until that time (monotonic, infinity: for ever), and call back."""
        timeout = None if until == math.inf else max(0.0, until - time.monotonic())
        for key, _ in sorted(self._selector.select(timeout), key=lambda event: event[0].data[0]):
            if self._selector.get_map().get(key.fd) is key:  # not forgotten, and closed, by one of those before it
                key.data[1]()

    def processes(self) -> Iterator[Process]:
        """Return the processes whose death is waited for."""
        for key in list(self._selector.get_map().values()):
            source: Any = key.fileobj
            if isinstance(source, Process):
                yield source

    def close(self) -> None:
        self._selector.close()
