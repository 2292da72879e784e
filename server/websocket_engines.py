"""The two implementations of the wire behind one interface, so that a connection behaves alike with either.

`FramesEngine` is ours, on `websocket_frames`. `WSProtoEngine` drives the package wsproto. Neither does I/O, and both
compress with `websocket_deflate`: wsproto's own extension inflates without a limit, and trips over some offers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from .websocket_deflate import Deflate, DeflateError, InflatedTooBig
from .websocket_frames import (
    NO_STATUS,
    Close,
    Event,
    Failure,
    FrameReader,
    Ping,
    Pong,
    write_close,
    write_message,
    write_ping,
    write_pong,
)

if TYPE_CHECKING:
    from wsproto.connection import Connection
    from wsproto.extensions import Extension


class Engine(Protocol):
    """What turns bytes into events and messages into bytes, once the handshake is over."""

    has_rest: bool
    """Whether an earlier `receive` stopped with bytes left because there was no room."""

    def receive(self, data: bytes | memoryview, room: int, volume: int) -> list[Event]:
        """Parse up to `room` messages, or to the one that reaches `volume` octets; the rest is kept, as a copy."""

    def message(self, message: str | bytes) -> bytes | tuple[bytes, bytes]:
        """Return the frame of a message, as one buffer or as two in order."""

    def ping(self, payload: bytes) -> bytes: ...

    def pong(self, payload: bytes) -> bytes: ...

    def close(self, code: int, reason: str) -> bytes:
        """Return a close frame; 1005 gives one without a code."""


class FramesEngine(FrameReader):
    """The default."""

    __slots__ = ()

    def message(self, message: str | bytes) -> bytes | tuple[bytes, bytes]:
        return write_message(message, self._deflate)

    def ping(self, payload: bytes) -> bytes:
        return write_ping(payload)

    def pong(self, payload: bytes) -> bytes:
        return write_pong(payload)

    def close(self, code: int, reason: str) -> bytes:
        return write_close(code, reason)


class WSProtoEngine:
    """`wsproto.Connection`, which wants its bytes first and gives events one by one."""

    __slots__ = ("_connection", "_done", "_events", "_limited", "_max_size", "_merged", "_parts", "_size", "has_rest")

    def __init__(self, max_size: int, deflate: Deflate | None = None) -> None:
        from wsproto import events
        from wsproto.connection import Connection, ConnectionType

        self._events: Any = events
        self._limited = _extension(deflate, self) if deflate is not None else None
        self._connection: Connection = Connection(ConnectionType.SERVER, [self._limited] if self._limited else [])
        self._max_size = max_size
        self._size = 0  # octets (of text: characters, of which none is smaller) of the message that is being read
        self._parts: list[Any] = []
        self._merged = 0
        self._done = False
        self.has_rest = False

    def left(self) -> int:
        """Return how many octets the current message may still grow by."""
        return self._max_size - self._size

    def receive(self, data: bytes | memoryview, room: int, volume: int = 1 << 62) -> list[Event]:
        found: list[Event] = []
        if self._done:
            return found
        kinds = self._events
        self._connection.receive_data(bytes(data))
        self.has_rest = False
        if room <= 0 or volume <= 0:
            self.has_rest = True
            return found
        for event in self._connection.events():
            if isinstance(event, kinds.Message):
                self._size += len(event.data) if isinstance(event, kinds.BytesMessage) else len(event.data.encode())
                if self._size > self._max_size:
                    self._end(found, Failure(1009, f"Message exceeds the maximum size ({self._max_size} bytes)"))
                    break
                self._add(event.data)
                if event.message_finished:
                    volume -= self._size
                    room -= 1
                    found.append(self._finish(isinstance(event, kinds.TextMessage)))
                    if room <= 0 or volume <= 0:
                        self.has_rest = True
                        break
            elif isinstance(event, kinds.Ping):
                found.append(Ping(bytes(event.payload)))
            elif isinstance(event, kinds.Pong):
                found.append(Pong(bytes(event.payload)))
            elif isinstance(event, kinds.CloseConnection):
                # wsproto words its own verdict on a wrong frame as a close that it did not receive.
                failed = self._connection.state.name != "REMOTE_CLOSING" and self._connection.state.name != "CLOSED"
                code, reason = int(event.code), event.reason or ""
                if failed and code == 1009:
                    reason = f"Message exceeds the maximum size ({self._max_size} bytes)"
                self._end(found, Failure(code, reason) if failed else Close(code, reason))
                break
        return found

    def _add(self, part: str | bytes) -> None:
        parts = self._parts
        if part:
            parts.append(part)
        if len(parts) - self._merged >= 1024:
            parts[self._merged :] = [parts[0][:0].join(parts[self._merged :])]
            self._merged += 1

    def _finish(self, text: bool) -> str | bytes:
        message: str | bytes = "".join(self._parts) if text else b"".join(self._parts)
        self._parts = []
        self._merged = 0
        self._size = 0
        return message

    def _end(self, found: list[Event], event: Event) -> None:
        self._done = True
        self.has_rest = False
        self._parts = []
        found.append(event)

    def message(self, message: str | bytes) -> bytes:
        if type(message) is str:
            return self._connection.send(self._events.TextMessage(data=message))
        return self._connection.send(self._events.BytesMessage(data=message))

    # Control frames are built by ours: wsproto refuses them in states that it alone knows.

    def ping(self, payload: bytes) -> bytes:
        return write_ping(payload)

    def pong(self, payload: bytes) -> bytes:
        return write_pong(payload)

    def close(self, code: int, reason: str) -> bytes:
        return write_close(code, reason if code != NO_STATUS else "")


def _extension(deflate: Deflate, engine: WSProtoEngine) -> Extension:
    """Return `deflate` as an extension of wsproto, bounded by what `engine` can still take."""
    from wsproto.extensions import Extension
    from wsproto.frame_protocol import CloseReason, Opcode, RsvBits

    class LimitedDeflate(Extension):
        name = "permessage-deflate"

        def __init__(self) -> None:
            self._compressed = False  # the message that is being read
            self._control = False  # the frame that is being read

        def enabled(self) -> bool:
            return True

        def offer(self) -> bool:
            return False  # a client's

        def frame_inbound_header(self, proto: Any, opcode: Any, rsv: Any, payload_length: int) -> Any:
            self._control = opcode.iscontrol()
            if rsv.rsv1 and opcode not in (Opcode.TEXT, Opcode.BINARY):
                return CloseReason.PROTOCOL_ERROR
            if not self._control and opcode is not Opcode.CONTINUATION:
                self._compressed = rsv.rsv1
            return RsvBits(True, False, False)

        def frame_inbound_payload_data(self, proto: Any, data: bytes) -> Any:
            if self._control or not self._compressed:
                return data
            return self._inflate(data, False)

        def frame_inbound_complete(self, proto: Any, fin: bool) -> Any:
            if self._control or not fin or not self._compressed:
                return None
            return self._inflate(b"", True)

        def _inflate(self, data: bytes, final: bool) -> Any:
            try:
                return deflate.inflate(data, final, engine.left())
            except InflatedTooBig:
                return CloseReason.MESSAGE_TOO_BIG
            except DeflateError:
                return CloseReason.PROTOCOL_ERROR

        def frame_outbound(self, proto: Any, opcode: Any, rsv: Any, data: bytes, fin: bool) -> Any:
            if opcode not in (Opcode.TEXT, Opcode.BINARY) or not data:
                return rsv, data
            return RsvBits(True, rsv.rsv2, rsv.rsv3), deflate.deflate(data)

    return LimitedDeflate()
