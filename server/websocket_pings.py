"""When to ping a client and when to give it up (RFC 6455 5.5.2). No I/O: the time comes in, what to do goes out."""

from __future__ import annotations

from math import inf


class Pings:
    """The keep-alive of one connection.

    `interval` seconds lie between two pings; None or nothing positive: no pings. A ping that is not answered in
    `timeout` seconds ends the connection; None or nothing positive: answers are not awaited.
    """

    __slots__ = ("_interval", "_next", "_payload", "_timeout", "due")

    def __init__(self, interval: float | None, timeout: float | None) -> None:
        self._interval = interval if interval and interval > 0 else inf
        self._timeout = timeout if timeout and timeout > 0 else inf
        self._payload: bytes | None = None  # of the ping that is not answered yet
        self._next = inf
        self.due = inf
        """The time to call `expired`."""

    def start(self, now: float) -> None:
        if self._interval < inf:
            # On a grid, so that the pings of many connections fall into the same sweeps.
            step = min(1.0, self._interval / 8)
            self._next = self.due = (now + self._interval) // step * step

    def stop(self) -> None:
        self.due = self._next = inf

    @property
    def awaited(self) -> bool:
        """Whether a ping is on its way whose answer has not come."""
        return self._payload is not None

    def sent(self, now: float, payload: bytes) -> None:
        """A ping with this payload was sent."""
        self.start(now)
        if self._timeout < inf:
            self._payload = payload
            self.due = now + self._timeout

    def answered(self, payload: bytes) -> None:
        """A pong has come; one that answers nothing is allowed, and means nothing (5.5.3)."""
        if payload == self._payload:
            self._payload = None
            self.due = self._next

    def wait_longer(self, now: float) -> bytes:
        """The answer cannot have been seen: grant the time-out once more. Returns the payload of the ping."""
        assert self._payload is not None
        self.due = now + self._timeout
        return self._payload
