"""What a connection sends in a turn of the loop, how long it waits, and how it ends: by a stop, lingering, a reset.

A connection is in one phase, and has at most one deadline, which `connections.Sweep` watches:

    FRESH     nothing was received yet                        header time-out, then closed
    HEAD      a part of a head was received                   header time-out, then 408
    BUSY      a request is being answered                     while the application waits for body: body time-out, 408
                                                              while the client does not read: write time-out, reset
    DISCARD   answered; the rest of the request is skipped    keep-alive time-out
    IDLE      answered; the next request may come             keep-alive time-out
    LINGER    our side is closed, theirs is read out          a moment, then closed
    CLOSING   the last bytes are on their way                 write time-out, then reset; over TLS the client has a
                                                              second to confirm the end

Lingering (RFC 9112 9.6): closing a socket with unread bytes sends a reset, which can take the answer with it. Where the
client may still be sending, our side is shut down first and theirs is read for a moment: until the client closes too,
sends nothing for a second, or has sent for five seconds or 16 MiB. That is more than is on its way between two kernels
(tcp(7): buffers of 4 and 6 MiB at most). Who sends more has not looked at the answer, and is cut off.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from .head import Refusal
from .response import refusal_text, short_response
from .utils import end_writing, untaken

if TYPE_CHECKING:
    from .body import ChunkedBody
    from .cycle import RequestResponseCycle
    from .service import Service

# Plain numbers, in the order of a connection's life: the hot path compares them.
FRESH, HEAD, IDLE, BUSY, DISCARD, LINGER, CLOSING, CLOSED = range(8)

_LINGER_PAUSE = 1.0  # seconds without an octet after which a lingering connection is closed
_LINGER_TOTAL = 5.0  # seconds after which it is closed anyway
_LINGER_OCTETS = 16 << 20  # after which it is, too
_MAX_LINGER_OVER_CAP = 50  # connections
_MAX_JOINED = 4 << 20  # octets of a body that are copied behind its head
_MAX_OUT = 65536  # octets that are collected before they are written, within one turn of the loop
_TLS_END = 1.0  # seconds that a client has to confirm the end of TLS; it need not (RFC 8446 6.1), and pools do not look
_FRESH_GRACE = 1.0  # seconds that a stopping server gives a request that may be on its way

_NO_LINGER = struct.pack("ii", 1, 0)  # socket(7): close() discards the send buffer and sends RST


class TimedConnection(asyncio.Protocol):
    """The part of an HTTP connection that is about its time and its end."""

    __slots__ = (
        "_buffer",
        "_chunks",
        "_close_after",
        "_left",
        "_linger_end",
        "_linger_left",
        "_out_size",
        "_reading_paused",
        "_stalled_at",
        "client",
        "cycle",
        "deadline",
        "ending",
        "half_closed",
        "held",
        "out",
        "phase",
        "service",
        "transport",
        "write_paused",
    )

    def __init__(self, service: Service) -> None:
        self.service = service
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        self.client: tuple[str, int] | None = None
        self.cycle: RequestResponseCycle | None = None
        self.phase = FRESH
        self.deadline = inf
        self.half_closed = False  # the client has sent all that it will send
        self.ending = False  # half-closed, or to be closed behind a response
        self.write_paused = False
        self.held = False  # the service looks at this connection at the end of the turn
        self.out: list[bytes] = []  # what this turn of the loop has to send
        self._out_size = 0
        self._buffer = b""  # a head that is not complete, or what follows the request that is being answered
        self._left = 0  # octets of the body still to come, if its length was declared
        self._chunks: ChunkedBody | None = None  # the state of a chunked body that is still coming
        self._reading_paused = False
        self._close_after = False  # whatever the response has promised
        self._stalled_at = 0  # octets that waited to be sent when the write time-out began
        self._linger_end = 0.0
        self._linger_left = _LINGER_OCTETS

    def refuse(self, refusal: Refusal) -> None:
        """Answer a request that cannot be served, and end the connection."""
        raise NotImplementedError

    @property
    def has_another(self) -> bool:
        """Whether the next request has come already."""
        raise NotImplementedError

    # -- What is sent: one write for each turn of the loop ------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send these bytes, with others of this turn."""
        self.out.append(data)
        self._out_size += len(data)
        if self._out_size > _MAX_OUT:
            self.flush()
        elif not self.held:
            self.service.hold(self)  # type: ignore[arg-type]

    def write_last(self, data: bytes) -> None:
        """Send these bytes, with which a response ends: now, unless the answer to a pipelined request may follow."""
        if self._buffer:
            self.write(data)
        elif self.out:
            self.out.append(data)
            self.flush()
        else:
            self.transport.write(data)

    def write_large(self, data: bytes) -> None:
        """Send these bytes now, behind what waits.

        In one piece up to a size: uvloop hands a single buffer to the kernel at once, and that is half as fast again
        as two, although it costs a copy.
        """
        if len(data) > _MAX_JOINED:
            self.flush()
            self.transport.write(data)
        else:
            self.out.append(data)
            self.flush()

    def flush(self) -> None:
        """Hand over what waits to be sent."""
        out = self.out
        if out:
            # asyncio warns of each write to a client that has gone, which it tells us in its next turn only.
            if not self.transport.is_closing():
                self.transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()
            self._out_size = 0

    # -- The transport's side -----------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        self.write_paused = True
        self._stalled_at = untaken(self.transport)
        if self.phase == BUSY:
            self.deadline = self._after(self.service.write_timeout)

    # -- The end ------------------------------------------------------------------------------------------------------

    def _hang_up(self, *, linger: bool) -> None:
        """Send what is left to send and close; `linger`: read until the client closes too, for a moment."""
        if self.phase >= CLOSING:
            return
        self._buffer = b""
        self._left = 0
        self._chunks = None
        self.flush()
        transport = self.transport
        if linger and not self.half_closed and not transport.is_closing() and transport.can_write_eof():
            self.phase = LINGER
            now = monotonic()
            self._linger_end = now + _LINGER_TOTAL
            self.deadline = now + _LINGER_PAUSE
            self._resume()
            end_writing(transport)
        else:
            self.phase = CLOSING
            service = self.service
            encrypted = service.state.is_encrypted(transport)
            self.deadline = monotonic() + _TLS_END if encrypted else self._after(service.write_timeout)
            self._stalled_at = sys.maxsize  # not known yet; most are closed before anybody asks
            transport.close()
        self.service.sweep.look_at(self.deadline)

    def linger_on(self, octets: int) -> None:
        """Something came while lingering: the client is not done yet."""
        self._linger_left -= octets
        if self._linger_left < 0:
            self._hang_up(linger=False)
        else:
            self.deadline = min(monotonic() + _LINGER_PAUSE, self._linger_end)

    def shutdown(self) -> None:
        """The server stops: finish the request that is being answered and what has come behind it, then close."""
        phase = self.phase
        if phase == BUSY:
            if not self.has_another:
                self.hurry()
        elif phase <= HEAD:
            # Accepted, and perhaps sent to already: whoever connected before we stopped is still answered.
            self.deadline = min(self.deadline, monotonic() + _FRESH_GRACE)
            self.service.sweep.look_at(self.deadline)
        elif phase in (IDLE, DISCARD):
            self._hang_up(linger=phase == DISCARD)

    def hurry(self) -> None:
        """Nothing is answered any more after the request that is being answered."""
        self._close_after = self.ending = True

    def retire(self) -> None:
        """This server drains while others serve.

        An idle connection stays: a request may be on its way, and nobody else can answer it. It is told to close with
        its next response, or ends with its keep-alive time-out.
        """

    def expired(self, now: float) -> None:
        """The deadline has passed (called by the sweep)."""
        phase = self.phase
        self.deadline = inf
        if phase == FRESH:
            self._hang_up(linger=False)
        elif phase == HEAD:
            self.refuse(Refusal(408, f"head not complete in {self.service.header_timeout:g} s"))
        elif phase == BUSY and not self.write_paused:
            self.refuse(Refusal(408, f"no octet of the body in {self.service.body_timeout:g} s"))
        elif phase == CLOSED:
            return
        elif self._unsent() or (phase == CLOSING and untaken(self.transport)):
            waiting = untaken(self.transport)
            progress = waiting < self._stalled_at
            if phase in (BUSY, CLOSING) and not progress:
                self._abort()
                return
            # The last answer is still being read, slowly: it may take its time as long as there is progress.
            if phase == IDLE and progress:
                self.deadline = self._after(self.service.keep_alive)
            else:
                if phase not in (BUSY, CLOSING):
                    self._hang_up(linger=False)
                self.deadline = self._after(self.service.write_timeout)
            self._stalled_at = waiting
        elif phase in (LINGER, IDLE, DISCARD):
            self._hang_up(linger=phase == DISCARD)
        elif phase == CLOSING and self._stalled_at:
            # Over TLS more may wait in the transport than it says; then the kernel has some of it when asked again.
            self._stalled_at = 0
            self.deadline = now + _TLS_END / 10
        elif phase == CLOSING:
            self.transport.abort()

    def _abort(self) -> None:
        self.service.log_refusal(
            Refusal(408, f"client has read nothing in {self.service.write_timeout:g} s"), self.client
        )
        self._reset()

    def _reset(self) -> None:
        """Drop the connection with a reset, and what waits to be sent with it, so that nothing cut looks complete."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and self.client is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()

    def _make_room(self) -> None:
        """There are more connections than descriptors for them: close the one that is idle for longest, or this one."""
        service = self.service
        service.note(f"Exceeded the limit of {service.cap} connections.")
        waiting = [
            connection
            for connection in service.state.connections
            if isinstance(connection, TimedConnection) and connection.phase <= IDLE and connection is not self
        ]
        if waiting:
            # Idle ones before those that have yet to send a request; of each kind the oldest.
            oldest = min(waiting, key=lambda connection: (connection.phase != IDLE, connection.deadline))
            oldest._hang_up(linger=False)
        else:
            self.write_last(short_response(503, refusal_text(503), service.state.default_block, b"retry-after: 1\r\n"))
            # Each that lingers keeps a descriptor, of which few are left.
            self._hang_up(linger=len(service.state.connections) < service.cap + _MAX_LINGER_OVER_CAP)

    # -- Small ones ---------------------------------------------------------------------------------------------------

    def _after(self, seconds: float) -> float:
        """Return the deadline `seconds` from now; 0: none."""
        return monotonic() + seconds if seconds > 0 else inf

    def _unsent(self) -> int:
        """Return how many octets wait for the kernel to take them."""
        return self.transport.get_write_buffer_size()

    def _pause(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
