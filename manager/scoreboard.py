"""A table in shared memory in which every worker of a generation has a row that it alone writes.

The master reads it to see who lives, workers read it to see who has the fewest connections; no system call either way,
and what a hung or dead worker wrote last can still be read. A row is a few aligned 64-bit words: each is written and
read whole. The rows belong to incarnations: the first word is the worker's id, 0 while the row is free. Behind the
words of a row is room for a text, the first line of a request; the word that says since when it runs is 0 while the
text is written.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from typing import NamedTuple

_MAGIC = 0x7576_0003  # the last digits are the version of the layout
_HEADER_WORDS = 8
_ROW_WORDS = 64
_TEXT_AT = 16  # word of the row
_TEXT_OCTETS = (_ROW_WORDS - _TEXT_AT) * 8
ROWS = 1024
_SIZE = (_HEADER_WORDS + ROWS * _ROW_WORDS) * 8

(_ID, _BEAT, _LAG, _ACCEPTING, _CONNECTIONS, _IN_FLIGHT, _WEBSOCKETS, _REQUESTS, _MEMORY, _LOOKS) = range(10)
(_ERRORS, _SINCE, _LENGTH, _DUE) = range(10, 14)
_USED = 1  # header word: how many rows have ever been used

Rival = tuple[int, int, int]
"""Of another worker: its connections, how often it has looked for new ones, its row."""


class LayoutError(Exception):
    """The table was made by a version with another layout."""


class Row(NamedTuple):
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
    """Bytes of memory, without those of files; what it shares with its template counts too. 0: not measured."""
    errors: int = 0
    """Of the requests, those that were answered with a status from 500 on."""
    since: float = 0.0
    """When the oldest request in flight was first seen, on the monotonic clock; 0 if there is none."""
    oldest: str = ""
    """The first line of that request."""
    due: float = 0.0
    """When the event loop was to come round next, on the monotonic clock."""


class Scoreboard:
    """The table; one for all workers of a generation."""

    def __init__(self, fd: int) -> None:
        """Map the table that `fd` holds. Raises LayoutError."""
        (magic,) = struct.unpack("=Q", os.pread(fd, 8, 0).ljust(8, b"\0"))
        if magic != _MAGIC or os.fstat(fd).st_size < _SIZE:
            raise LayoutError(f"a scoreboard of layout {magic:#x}, not {_MAGIC:#x}")
        self.fd = fd
        self._map = mmap.mmap(fd, _SIZE)
        self._octets = memoryview(self._map)
        self._words = self._octets.cast("Q")

    @classmethod
    def create(cls) -> Scoreboard:
        """Make an empty table in a file without a name; pages that no row lies in take no memory."""
        fd = os.memfd_create("uvicorn-scoreboard")
        os.ftruncate(fd, _SIZE)
        os.pwrite(fd, struct.pack("=QQ", _MAGIC, 0), 0)
        return cls(fd)

    def close(self) -> None:
        self._words.release()
        self._octets.release()
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
        since, oldest = words[start + _SINCE], ""
        if since:
            at = (start + _TEXT_AT) * 8
            text = bytes(self._octets[at : at + min(words[start + _LENGTH], _TEXT_OCTETS)])
            if words[start + _SINCE] == since:  # else another text came while we read
                oldest = text.decode(errors="replace")
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
            errors=words[start + _ERRORS],
            since=since / 1e9 if oldest else 0.0,
            oldest=oldest,
            due=words[start + _DUE] / 1e9,
        )

    @staticmethod
    def _start(row: int) -> int:
        return _HEADER_WORDS + row * _ROW_WORDS

    # -- a worker's side --

    def rivals(self, row: int, *, fresh: float) -> list[Rival]:
        """Return what is to be known of each other worker that accepts and whose heart beat lately, in seconds."""
        words = self._words
        oldest = time.monotonic_ns() - int(fresh * 1e9)
        return [
            (words[start + _CONNECTIONS], words[start + _LOOKS], other)
            for other, start in enumerate(range(_HEADER_WORDS, _HEADER_WORDS + words[_USED] * _ROW_WORDS, _ROW_WORDS))
            if other != row and words[start + _ACCEPTING] and words[start + _ID] and words[start + _BEAT] > oldest
        ]

    def writer(self, row: int) -> RowWriter:
        return RowWriter(self._words, self._octets, self._start(row))


class RowWriter:
    """A worker's own row."""

    __slots__ = ("_octets", "_start", "_words")

    def __init__(self, words: memoryview[int], octets: memoryview[int], start: int) -> None:
        self._words = words
        self._octets = octets
        self._start = start

    def beat(
        self,
        *,
        lag: float,
        connections: int,
        in_flight: int,
        websockets: int,
        requests: int,
        errors: int = 0,
        period: float = 1.0,
    ) -> None:
        """Write that the event loop has come round, `lag` seconds late, and will again `period` seconds from now."""
        words, start = self._words, self._start
        words[start + _LAG] = max(0, int(lag * 1e9))
        words[start + _CONNECTIONS] = connections
        words[start + _IN_FLIGHT] = in_flight
        words[start + _WEBSOCKETS] = websockets
        words[start + _REQUESTS] = requests
        words[start + _ERRORS] = errors
        now = time.monotonic_ns()
        words[start + _DUE] = now + int(period * 1e9)  # first: who reads between the two sees a beat that is not late
        words[start + _BEAT] = now

    def oldest(self, since: float, text: str) -> None:
        """Write which request is the oldest, and since when (monotonic); 0: there is none."""
        words, start = self._words, self._start
        nanoseconds = int(since * 1e9)
        words[start + _SINCE] = 0
        if nanoseconds:
            octets = text.encode(errors="replace")[:_TEXT_OCTETS]
            at = (start + _TEXT_AT) * 8
            self._octets[at : at + len(octets)] = octets
            words[start + _LENGTH] = len(octets)
            words[start + _SINCE] = nanoseconds

    def connections(self, count: int) -> None:
        self._words[self._start + _CONNECTIONS] = count

    def looked(self) -> None:
        """Write that the worker has looked for new connections."""
        self._words[self._start + _LOOKS] += 1

    def accepting(self, flag: bool) -> None:
        self._words[self._start + _ACCEPTING] = flag

    def memory(self, octets: int) -> None:
        self._words[self._start + _MEMORY] = octets
