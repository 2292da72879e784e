"""A table in shared memory in which every worker of a generation has a row that it alone writes.

The master reads it to see who lives, workers read it to see who has the fewest connections; no system call either way,
and what a hung or dead worker wrote last can still be read. A row is a few aligned 64-bit words: each is written and
read whole. The rows belong to incarnations: the first word is the worker's id, 0 while the row is free.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass

_MAGIC = 0x7576_0001  # the last digits are the version of the layout
_HEADER_WORDS = 8
_ROW_WORDS = 16
ROWS = 1024
_SIZE = (_HEADER_WORDS + ROWS * _ROW_WORDS) * 8

(_ID, _BEAT, _LAG, _ACCEPTING, _CONNECTIONS, _IN_FLIGHT, _WEBSOCKETS, _REQUESTS, _MEMORY) = range(9)
_USED = 1  # header word: how many rows have ever been used


class LayoutError(Exception):
    """The table was made by a version with another layout."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a worker wrote last."""

    id: int
    beat: float
    """When its event loop last came round; seconds on the monotonic clock, 0 before the first time."""
    lag: float
    """How much later than it wanted to, in seconds."""
    accepting: bool
    connections: int
    in_flight: int
    websockets: int
    requests: int
    memory: int
    """Bytes of memory that it has for itself; 0 if not measured."""


class Scoreboard:
    """The table; one for all workers of a generation."""

    def __init__(self, fd: int) -> None:
        """Map the table that `fd` holds. Raises LayoutError."""
        self.fd = fd
        self._map = mmap.mmap(fd, _SIZE)
        self._words = memoryview(self._map).cast("Q")
        if self._words[0] != _MAGIC:
            raise LayoutError(f"a scoreboard of layout {self._words[0]:#x}, not {_MAGIC:#x}")

    @classmethod
    def create(cls) -> Scoreboard:
        """Make an empty table in a file without a name; pages that no row lies in take no memory."""
        fd = os.memfd_create("uvicorn-scoreboard")
        os.ftruncate(fd, _SIZE)
        os.pwrite(fd, struct.pack("=QQ", _MAGIC, 0), 0)
        return cls(fd)

    def close(self) -> None:
        self._words.release()
        self._map.close()
        os.close(self.fd)

    # -- the master's side --

    def claim(self, id: int) -> int:
        """Give a free row to the worker `id`; return its number. The last row is shared when all are taken."""
        words = self._words
        row = next((row for row in range(ROWS) if words[self._start(row)] == 0), ROWS - 1)
        start = self._start(row)
        for word in range(1, _ROW_WORDS):
            words[start + word] = 0
        words[start + _ID] = id
        words[_USED] = max(words[_USED], row + 1)
        return row

    def release(self, row: int) -> None:
        """Free the row of a worker that was reaped."""
        self._words[self._start(row) + _ID] = 0

    def read(self, row: int) -> Row:
        words, start = self._words, self._start(row)
        return Row(
            id=words[start + _ID],
            beat=words[start + _BEAT] / 1e9,
            lag=words[start + _LAG] / 1e9,
            accepting=bool(words[start + _ACCEPTING]),
            connections=words[start + _CONNECTIONS],
            in_flight=words[start + _IN_FLIGHT],
            websockets=words[start + _WEBSOCKETS],
            requests=words[start + _REQUESTS],
            memory=words[start + _MEMORY],
        )

    @staticmethod
    def _start(row: int) -> int:
        return _HEADER_WORDS + row * _ROW_WORDS

    # -- a worker's side --

    def others(self, row: int, *, fresh: float) -> list[int]:
        """Return how many connections each other worker has that accepts and whose heart beat lately, in seconds."""
        words = self._words
        oldest = time.monotonic_ns() - int(fresh * 1e9)
        mine = self._start(row)
        starts = range(_HEADER_WORDS, _HEADER_WORDS + words[_USED] * _ROW_WORDS, _ROW_WORDS)
        return [
            words[start + _CONNECTIONS]
            for start in starts
            if start != mine and words[start + _ACCEPTING] and words[start + _ID] and words[start + _BEAT] > oldest
        ]

    def writer(self, row: int) -> RowWriter:
        return RowWriter(self._words, self._start(row))


class RowWriter:
    """A worker's own row."""

    __slots__ = ("_start", "_words")

    def __init__(self, words: memoryview[int], start: int) -> None:
        self._words = words
        self._start = start

    def beat(self, *, lag: float, connections: int, in_flight: int, websockets: int, requests: int) -> None:
        """Write that the event loop has come round, `lag` seconds late."""
        words, start = self._words, self._start
        words[start + _LAG] = max(0, int(lag * 1e9))
        words[start + _CONNECTIONS] = connections
        words[start + _IN_FLIGHT] = in_flight
        words[start + _WEBSOCKETS] = websockets
        words[start + _REQUESTS] = requests
        words[start + _BEAT] = time.monotonic_ns()

    def connections(self, count: int) -> None:
        self._words[self._start + _CONNECTIONS] = count

    def accepting(self, flag: bool) -> None:
        self._words[self._start + _ACCEPTING] = flag

    def memory(self, octets: int) -> None:
        self._words[self._start + _MEMORY] = octets
