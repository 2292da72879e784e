"""Decode a chunked request body (RFC 9112 7.1): bytes as they arrive in, content and what follows it out. No I/O."""

from __future__ import annotations

import re

from .head import TOKEN, Refusal

# At most 16 digits: more overflow what other programs parse them into, and no chunk is that large. Extensions are
# tolerated and ignored; RFC 9112 7.1.1 allows white space only before a ";".
_SIZE_LINE = re.compile(rb"([0-9a-fA-F]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER_LINE = re.compile(TOKEN + rb":[\t\x20-\x7e\x80-\xff]*")

_MAX_OVERHEAD = 16384  # octets of extensions, leading zeros and trailers in one message
_MAX_PLAIN_SIZE_LINE = 16


class ChunkedBody:
    """The state of one chunked body. `feed` until `done`; what it returns then as rest belongs to the next request."""

    __slots__ = ("_in_data", "_left", "_overhead", "_pending", "_trailers", "done")

    def __init__(self) -> None:
        self.done = False
        self._pending = b""  # a line that has not ended yet
        self._left = 0  # octets of the current chunk still to come
        self._in_data = False  # a chunk's content, or the CRLF behind it, is next
        self._trailers = False
        self._overhead = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return (content, rest). The rest is empty until `done`. Raises `Refusal` on anything that is not RFC 9112."""
        if self._pending:
            data = self._pending + data
            self._pending = b""
        pieces: list[bytes] = []
        at = 0
        size = len(data)
        while at < size:
            if self._in_data:
                if self._left:
                    piece = data[at : at + self._left]
                    pieces.append(piece)
                    at += len(piece)
                    self._left -= len(piece)
                    continue
                ending = data[at : at + 2]
                if ending == b"\r\n":
                    at += 2
                    self._in_data = False
                    continue
                if ending == b"\r":
                    break
                raise Refusal(400, "chunk longer than its size")
            end = data.find(b"\r\n", at)
            if end < 0:
                self._check_unfinished_line(data, at)
                break
            line = data[at:end]
            at = end + 2
            if self._trailers:
                if not line:
                    self.done = True
                    break
                if not _TRAILER_LINE.fullmatch(line):
                    raise Refusal(400, "invalid trailer")
                self._spend(len(line))
            else:
                self._begin_chunk(line)
        rest = data[at:]
        if not self.done:
            self._pending, rest = rest, b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), rest

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise Refusal(400, "invalid chunk size")
        if len(line) > _MAX_PLAIN_SIZE_LINE:
            self._spend(len(line) - _MAX_PLAIN_SIZE_LINE)
        self._left = int(match[1], 16)
        if self._left:
            self._in_data = True
        else:
            self._trailers = True

    def _check_unfinished_line(self, data: bytes, at: int) -> None:
        line = data[at:-1] if data.endswith(b"\r") else data[at:]
        if len(line) - (0 if self._trailers else _MAX_PLAIN_SIZE_LINE) > _MAX_OVERHEAD - self._overhead:
            raise Refusal(400, "chunk extensions and trailers too large")
        shape = _TRAILER_SO_FAR if self._trailers else _SIZE_SO_FAR
        if not shape.fullmatch(line[:256]):  # the rest once it has ended: not anew for each octet that arrives
            raise Refusal(400, "invalid trailer" if self._trailers else "invalid chunk size")

    def _spend(self, octets: int) -> None:
        self._overhead += octets
        if self._overhead > _MAX_OVERHEAD:
            raise Refusal(400, "chunk extensions and trailers too large")


# The same lines cut short, so that what can no longer become good is refused without waiting for more.
_SIZE_SO_FAR = re.compile(rb"(?:[0-9a-fA-F]{1,16}(?:[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?)?)?")
_TRAILER_SO_FAR = re.compile(rb"(?:" + TOKEN + rb"(?::[\t\x20-\x7e\x80-\xff]*)?)?")
