"""Frames of RFC 6455 as a pure machine: bytes in, events out, and the frames that a server sends as bytes.

A reader decides as early as the bytes allow, not when a frame is complete: a bad header fails at its first octet, a
bad UTF-8 sequence at the octet that breaks it, a message that grows over the limit at the header that says so. That is
what "strict" means in the Autobahn suite, and a peer that sends garbage costs no memory.

Events come in the order of the wire. A message is a plain `str` or `bytes` (no wrapper: this is the hot path), the
rest are the classes below. After a `Close` or a `Failure` the reader ignores everything.

This was measured against `websockets`' own sans-IO protocol, which it replaces on the hot path: 1.1 against 6.4
microseconds for one echo of 32 bytes, and that protocol validates text only once a whole frame is there. Masking stays
with the C code of `websockets`.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader, PathFinder
from importlib.util import module_from_spec
from typing import Any, Final

from uvicorn.record import Record

from .websocket_deflate import Deflate, DeflateError, InflatedTooBig


def _apply_mask(data: bytes | bytearray | memoryview, mask: bytes | memoryview) -> bytes:
    size = len(data)
    key = int.from_bytes((bytes(mask) * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(data, "little") ^ key).to_bytes(size, "little")


def _in_c() -> Any:
    """Return the function of `websockets`, without importing that package for it; None if it is not there.

    Its extension module needs nothing else. The package itself imports some forty modules for its version number, which
    every process would pay for, WebSockets or not.
    """
    name = "websockets.speedups"
    package = PathFinder.find_spec("websockets")
    found = PathFinder.find_spec(name, package.submodule_search_locations) if package is not None else None
    if found is None or not isinstance(found.loader, ExtensionFileLoader):
        return None
    try:
        module = module_from_spec(found)
        found.loader.exec_module(module)
    except ImportError:  # built for another interpreter
        return None
    return getattr(module, "apply_mask", None)


apply_mask: Final[Callable[[bytes | memoryview, bytes | memoryview], bytes]] = _in_c() or _apply_mask
"""XOR `data` with the four octets of `mask`, repeated (5.3)."""

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1 = 0x80, 0x40

MAX_CONTROL = 125
"""Octets in the payload of a control frame (5.5)."""


def is_sendable(code: int) -> bool:
    """Whether a code may stand in a close frame: RFC 6455 7.4 and the IANA registry. 1005, 1006 and 1015 may not."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


NO_STATUS = 1005
ABNORMAL = 1006

_VIEW_FROM = 1024
"""From this size on a slice is masked through a memoryview: below it the copy is cheaper than the view."""

_MERGE_AFTER = 1024
"""Parts of a message that are joined at once, so that a message in tiny fragments costs its size and no multiple."""

_GATHER_FROM = 4096
"""From this payload size on header and payload go out as two buffers: a system call gathers them without a copy."""


class Ping(Record):
    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class Pong(Record):
    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class Close(Record):
    """The peer's close frame; 1005 stands for one without a code (7.1.5)."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


class Failure(Record):
    """The peer broke the protocol: the connection is to be failed with this code and reason (7.1.7)."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


Event = str | bytes | Ping | Pong | Close | Failure


class _Violation(Exception):
    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


class FrameReader:
    """Turns what a client sends into events.

    `max_size` limits a message, in octets after decompression; `deflate` is what the handshake agreed on, None without
    compression.
    """

    __slots__ = (
        "_compressed",
        "_decoder",
        "_deflate",
        "_done",
        "_fin",
        "_kind",
        "_left",
        "_mask",
        "_max_size",
        "_merged",
        "_parts",
        "_rest",
        "_size",
        "has_rest",
    )

    def __init__(self, max_size: int, deflate: Deflate | None = None) -> None:
        self._max_size = max_size
        self._deflate = deflate
        self._rest = b""  # what came and is not parsed yet
        self._done = False  # a Close or a Failure was given out
        self.has_rest = False
        """Whether `receive(b"", ...)` may give events, because an earlier call ran out of room."""
        # the data frame whose payload is being read: octets that are still to come, and the mask for the next ones
        self._left = 0
        self._mask = b""
        self._fin = True
        # the message whose frames are being read
        self._kind = 0
        self._compressed = False
        self._size = 0
        self._parts: list[str] | list[bytes] = []
        self._merged = 0  # how many of the parts are joined ones
        self._decoder: codecs.IncrementalDecoder | None = None

    def receive(self, data: bytes | memoryview, room: int, volume: int = 1 << 62) -> list[Event]:
        """Parse `data` and what was left before it, up to `room` messages or the message that reaches `volume` octets.

        Octets beyond that are kept for the next call, nothing refers to `data` then. Control frames are no messages.
        """
        events: list[Event] = []
        if self._done:
            return events
        if self._rest:
            data = self._rest + data
            self._rest = b""
            self.has_rest = False
        position, end = 0, len(data)
        try:
            while position < end:
                if room <= 0 or volume <= 0:
                    self._rest = bytes(data[position:])
                    self.has_rest = True
                    return events
                # The common case first: a whole message in one frame without compression, and all of it is here.
                first = data[position]
                if (first == 0x81 or first == 0x82) and not self._kind and end - position > 6:
                    length = data[position + 1] - 0x80
                    start = position + 6
                    if length == 126 and end - position > 8:
                        length = data[position + 2] << 8 | data[position + 3]
                        start = position + 8
                        if length < 126:
                            raise _Violation(1002, "length not in its shortest form")
                    elif length >= 126:
                        length = -1
                    stop = start + length
                    if 0 <= length <= self._max_size and stop <= end:
                        if length < _VIEW_FROM:
                            payload = apply_mask(data[start:stop], data[start - 4 : start])
                        else:
                            payload = apply_mask(memoryview(data)[start:stop], data[start - 4 : start])
                        position = stop
                        events.append(payload if first == 0x82 else str(payload, "utf-8"))
                        room -= 1
                        volume -= length
                        continue
                if self._left:
                    used = min(self._left, end - position)
                    self._read_payload(data, position, used)
                    position += used
                else:
                    start = self._read_head(data, position, end, events)
                    if start < 0:
                        self._rest = bytes(data[position:])
                        return events
                    position = start
                    if self._done:
                        return events
                if not self._left and self._fin and self._kind:
                    volume -= self._size
                    room -= 1
                    events.append(self._finish())
        except _Violation as violation:
            self._fail(events, violation.code, violation.reason)
        except UnicodeDecodeError as error:
            self._fail(events, 1007, f"{error.reason} at position {error.start}")
        return events

    def _fail(self, events: list[Event], code: int, reason: str) -> None:
        self._end()
        events.append(Failure(code, reason))

    def _end(self) -> None:
        self._done = True
        self._rest = b""
        self.has_rest = False
        self._parts = []
        self._decoder = None

    def _read_head(self, data: bytes | memoryview, position: int, end: int, events: list[Event]) -> int:
        """Read a frame's header, or a whole control frame; return where the next octets start, -1 if some are missing.

        Each octet is judged as soon as it is there (5.2).
        """
        first = data[position]
        opcode = first & 0x0F
        if first & 0x30 or (first & RSV1 and (self._deflate is None or opcode not in (TEXT, BINARY))):
            raise _Violation(1002, "reserved bits must be 0")
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise _Violation(1002, "invalid opcode")
        if opcode >= CLOSE:
            if not first & FIN:
                raise _Violation(1002, "fragmented control frame")
        elif opcode == CONTINUATION:
            if not self._kind:
                raise _Violation(1002, "unexpected continuation frame")
        elif self._kind:
            raise _Violation(1002, "expected a continuation frame")
        if end - position < 2:
            return -1
        length = data[position + 1] - 0x80
        if length < 0:
            raise _Violation(1002, "incorrect masking")
        if opcode >= CLOSE:
            if length > MAX_CONTROL:
                raise _Violation(1002, "control frame too long")
            start = position + 6
            stop = start + length
            if stop > end:
                return -1
            self._control(opcode, apply_mask(data[start:stop], data[start - 4 : start]), events)
            return stop
        start = position + 6
        if length >= 126:
            size = 2 if length == 126 else 8
            start += size
            if end < position + 2 + size:
                return -1
            length = int.from_bytes(data[position + 2 : position + 2 + size], "big")
            if length >> 63:
                raise _Violation(1002, "length over 63 bits")
            if length < (126 if size == 2 else 65536):
                raise _Violation(1002, "length not in its shortest form")
        compressed = bool(first & RSV1) if opcode != CONTINUATION else self._compressed
        # What is compressed may be longer than what it becomes; that is limited while it is inflated.
        if not compressed and self._size + length > self._max_size:
            before = f" after reading {self._size} bytes" if self._size else ""
            limit = self._max_size - self._size
            raise _Violation(1009, f"frame with {length} bytes{before} exceeds limit of {limit} bytes")
        if start > end:
            return -1
        self._left = length
        self._mask = bytes(data[start - 4 : start])
        self._fin = first >= FIN
        if opcode != CONTINUATION:
            self._kind = opcode
            self._compressed = compressed
            if opcode == TEXT:
                self._decoder = codecs.getincrementaldecoder("utf-8")()
        if not length:
            self._read_payload(data, start, 0)
        return start

    def _control(self, opcode: int, payload: bytes, events: list[Event]) -> None:
        if opcode == PING:
            events.append(Ping(payload))
        elif opcode == PONG:
            events.append(Pong(payload))
        else:
            code, reason = read_close(payload)
            self._end()
            events.append(Close(code, reason))

    def _read_payload(self, data: bytes | memoryview, position: int, used: int) -> None:
        """Take `used` octets of the current data frame into the current message."""
        mask = self._mask
        chunk = apply_mask(memoryview(data)[position : position + used], mask)
        self._left -= used
        if self._left:
            turn = used & 3
            self._mask = mask[turn:] + mask[:turn]
        final = self._fin and not self._left
        if self._compressed:
            assert self._deflate is not None
            try:
                chunk = self._deflate.inflate(chunk, final, self._max_size - self._size)
            except InflatedTooBig:
                raise _Violation(1009, f"message exceeds limit of {self._max_size} bytes") from None
            except DeflateError:
                raise _Violation(1002, "decompression failed") from None
        if self._decoder is not None:
            part = self._decode(self._decoder, chunk, final)
            if part:
                self._parts.append(part)  # type: ignore[arg-type]  # all are str, of a text message
        elif chunk:
            self._parts.append(chunk)  # type: ignore[arg-type]
        self._size += len(chunk)
        parts = self._parts
        if len(parts) - self._merged >= _MERGE_AFTER:
            parts[self._merged :] = [parts[0][:0].join(parts[self._merged :])]  # type: ignore[arg-type,list-item]
            self._merged += 1

    def _decode(self, decoder: codecs.IncrementalDecoder, chunk: bytes, final: bool) -> str:
        """Decode the next octets of a text message; a wrong one raises at once, with its place in the message."""
        before = self._size - len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise _Violation(1007, f"{error.reason} at position {before + error.start}") from None
        kept = decoder.getstate()[0]
        if len(kept) == 2 and kept[0] == 0xED and kept[1] >= 0xA0:
            # The first half of a surrogate: the decoder would wait for its third octet (RFC 3629 3).
            raise _Violation(1007, f"invalid continuation byte at position {self._size + len(chunk) - 2}")
        return text

    def _finish(self) -> str | bytes:
        parts = self._parts
        empty: str | bytes = "" if self._kind == TEXT else b""
        message: str | bytes = parts[0] if len(parts) == 1 else empty.join(parts)  # type: ignore[arg-type]
        self._parts = []
        self._merged = 0
        self._kind = 0
        self._size = 0
        self._decoder = None
        return message


def read_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a close frame's payload (5.5.1); a wrong one raises what fails the connection."""
    if not payload:
        return NO_STATUS, ""
    if len(payload) == 1:
        raise _Violation(1002, "close frame too short")
    code = payload[0] << 8 | payload[1]
    if not is_sendable(code):
        raise _Violation(1002, "invalid status code")
    return code, str(payload[2:], "utf-8")


# -- What a server sends: frames without a mask --

_SHORT_HEADS = {first: [bytes((first, length)) for length in range(126)] for first in (0x81, 0x82, 0xC1, 0xC2)}


def frame_head(first: int, length: int) -> bytes:
    """Return the header of an unmasked frame; `first` is its first octet."""
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


def write_message(message: str | bytes, deflate: Deflate | None = None) -> bytes | tuple[bytes, bytes]:
    """Return the frame of a message: one buffer, or for a big one header and payload apart, to be gathered.

    A lone surrogate in the text raises UnicodeEncodeError.
    """
    if type(message) is str:
        first, payload = 0x81, message.encode()
    else:
        first, payload = 0x82, message  # type: ignore[assignment]
    if deflate is not None and payload:  # an empty message grows when it is compressed
        first |= RSV1
        payload = deflate.deflate(payload)
    length = len(payload)
    if length < 126:
        return _SHORT_HEADS[first][length] + payload
    if length < _GATHER_FROM:
        return struct.pack("!BBH", first, 126, length) + payload
    return frame_head(first, length), payload


def write_ping(payload: bytes) -> bytes:
    return bytes((FIN | PING, len(payload))) + payload


def write_pong(payload: bytes) -> bytes:
    return bytes((FIN | PONG, len(payload))) + payload


def write_close(code: int, reason: str) -> bytes:
    """Return a close frame; 1005 gives one without a code. Of a reason that is too long the end is cut off.

    The caller has checked that `code` may be sent.
    """
    if code == NO_STATUS:
        return bytes((FIN | CLOSE, 0))
    text = reason.encode("utf-8", "replace")
    if len(text) > MAX_CONTROL - 2:
        text = text[: MAX_CONTROL - 2].decode("utf-8", "ignore").encode()
    return struct.pack("!BBH", FIN | CLOSE, 2 + len(text), code) + text
