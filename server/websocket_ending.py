"""How long a WebSocket waits, and how it ends: by a close handshake, lingering, a stop, a retirement, a time-out.

No connection has a timer of its own: each says its next `deadline`, which depends on its phase, and `connections.Sweep`
looks at all of them. `websocket_protocol` lists the phases.
"""

from __future__ import annotations

import os
import random
import sys
from math import inf
from typing import Any

from .utils import end_writing, untaken
from .websocket import GOING_TO_RESTART, SERVER_FAILED, AppState
from .websocket_frames import ABNORMAL, Failure
from .websocket_handshake import CLOSED, CLOSING, HANDSHAKE, HEAD, LINGER, OPEN, Opening
from .websocket_pings import Pings

CLOSE_TIMEOUT = 10.0
"""Seconds that the peer has to answer our close frame."""

RETIRE_SPREAD = 1.0
"""Seconds over which a retiring worker closes its WebSockets, so that their clients do not come back at once."""

_LINGER = 2.0  # seconds
_LINGER_QUIET = 0.1  # seconds without an octet of the client, before TLS ends


class Ending(Opening):
    """The part of a WebSocket connection that is about its time and its end."""

    __slots__ = ("_failure", "_pings", "_reading_paused", "_retire_at", "_stall_due", "_stalled_at")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        config = self.service.config
        self._failure: Failure | None = None  # of the client, which takes its turn behind the messages before it
        self._reading_paused = False
        self._stalled_at = 0
        self._stall_due = inf
        self._retire_at = inf
        self._pings = Pings(config.ws_ping_interval, config.ws_ping_timeout)

    def _resume(self) -> None:
        """Read on where reading was paused."""
        raise NotImplementedError

    def _fail(self) -> None:
        """End the connection because the client broke the protocol."""
        raise NotImplementedError

    # -- The transport's side -----------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        self._write_paused = True
        self._stalled_at = untaken(self.transport)
        if self.phase <= OPEN and self.service.write_timeout > 0:
            self._stall_due = self.service.loop.time() + self.service.write_timeout
            self._set_deadline()

    def linger_on(self) -> None:
        """Something came while lingering: TLS cannot end yet."""
        if not self.transport.can_write_eof():
            self.deadline = min(self.service.loop.time() + _LINGER_QUIET, self._stall_due)

    # -- The end -----------------------------------------------------------------------------------------------------

    def _close(self, code: int, reason: str) -> None:
        """Begin the close handshake (7.1.2), unless the connection ends already."""
        if self.phase is not OPEN:
            return
        engine = self._engine
        assert engine is not None
        self._write(engine.close(code, reason))
        self.phase = CLOSING
        self._end(code, reason)
        self._set_deadline()
        if self._reading_paused:
            self._resume()

    def _hang_up(self) -> None:
        """Close our side and read theirs out for a moment, so that a reset does not overtake what we wrote last.

        TLS ends in both directions at once, and breaks off if something comes then: it is closed when the client is
        silent.
        """
        if self.phase >= LINGER:
            return
        self.phase = LINGER
        self._early = b""
        self._stall_due = self.service.loop.time() + _LINGER
        self._set_deadline()
        transport = self.transport
        if transport.is_closing():
            return
        if self._reading_paused:
            self._reading_paused = False
            self._inbox.on_room = None
            transport.resume_reading()
        if transport.can_write_eof():
            end_writing(transport)

    def _end(self, code: int, reason: str) -> None:
        """Tell the application that the connection is over, once, behind the messages that it has not taken yet."""
        self._inbox.close(code, reason)
        self._wake_writers()

    def shutdown(self) -> None:
        """The server stops: close at once."""
        if self.phase is OPEN:
            self._close(GOING_TO_RESTART, "")
        elif self.phase is HANDSHAKE and self._app is AppState.CONNECTING:
            self._answer(503, b"Service Unavailable")
            self._end(GOING_TO_RESTART, "")
        elif self.phase is HEAD:
            self.phase = CLOSED
            self.transport.close()

    def retire(self) -> None:
        """The worker retires while others serve: close within a moment, each connection at another time."""
        service = self.service
        limit = service.config.timeout_graceful_shutdown
        spread = RETIRE_SPREAD if limit is None else min(RETIRE_SPREAD, limit / 2)
        self._retire_at = service.loop.time() + random.random() * spread
        self._set_deadline()

    # -- The clock ----------------------------------------------------------------------------------------------------

    def _set_deadline(self) -> None:
        phase = self.phase
        service = self.service
        if phase is OPEN:
            deadline = min(self._pings.due, self._retire_at, self._stall_due)
        elif phase is CLOSING:
            deadline = service.loop.time() + CLOSE_TIMEOUT
        elif phase is LINGER:
            quiet = inf if self.transport.can_write_eof() else service.loop.time() + _LINGER_QUIET
            deadline = min(quiet, self._stall_due)
        elif phase is CLOSED:
            deadline = service.loop.time() + CLOSE_TIMEOUT
        else:
            deadline = self._stall_due
        if phase > OPEN and not self._write_paused:
            self._stalled_at = sys.maxsize  # not known yet; most are closed before anybody asks
        self.deadline = deadline
        if deadline != inf:
            service.sweep.look_at(deadline)

    def expired(self, now: float) -> None:
        """The deadline has passed (called by the sweep)."""
        phase = self.phase
        if phase > OPEN:
            self._end_expired(now)
            return
        if now >= self._retire_at and phase is OPEN:
            self._retire_at = inf
            if self._failure is not None:
                self._fail()
                return
            self._close(GOING_TO_RESTART, "")
            return
        if now >= self._stall_due:
            waiting = untaken(self.transport)
            if waiting >= self._stalled_at:
                self._log("closed: the client does not read")
                self._end(ABNORMAL, "")
                self.phase = CLOSED
                self.deadline = inf
                self.transport.abort()
                return
            self._stalled_at = waiting
            self._stall_due = now + self.service.write_timeout
        if now >= self._pings.due:
            self._ping_expired(now)
        if self.phase <= OPEN:
            self._set_deadline()

    def _end_expired(self, now: float) -> None:
        """The client has had its time. The connection is dropped, unless the client still takes what was sent last.

        That may be a whole file, and its way longer than the close time-out.
        """
        transport = self.transport
        if self.phase is LINGER and not transport.can_write_eof() and not transport.is_closing():
            self.phase = CLOSED
            self._set_deadline()
            transport.close()
            return
        before, waiting = self._stalled_at, untaken(transport)
        if waiting < before and (waiting or before < sys.maxsize):
            self._stalled_at = waiting
            self.deadline = now + CLOSE_TIMEOUT
        else:
            self.deadline = inf
            self.phase = CLOSED
            transport.abort()

    def _ping_expired(self, now: float) -> None:
        pings = self._pings
        engine = self._engine
        assert engine is not None
        if not pings.awaited:
            payload = os.urandom(4)
            self.transport.write(engine.ping(payload))
            pings.sent(now, payload)
        elif self._write_paused and self.service.write_timeout > 0:
            pings.wait_longer(now)  # the ping waits behind what is sent, and whether that moves has its own time-out
        elif self._reading_paused:
            # The answer may lie in what we do not read, nor would we read of an end: a write to who is gone fails.
            self.transport.write(engine.ping(pings.wait_longer(now)))
        else:
            self._close(SERVER_FAILED, "keepalive ping timeout")
