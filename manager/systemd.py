"""What a service manager is told: sd_notify(3), one datagram of KEY=value lines to $NOTIFY_SOCKET.

READY=1 when every worker serves; RELOADING=1 with the time of the clock, and READY=1 again whatever the reload came to;
STOPPING=1 when the end begins; WATCHDOG=1 from the master's own loop, twice as often as asked for.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time

_EXTENSION = 10.0
"""Seconds of patience that a start which still goes on asks for, every half of them."""


class Notifier:
    """Says nothing if nobody listens."""

    def __init__(self, environ: dict[str, str] | None = None, pid: int | None = None) -> None:
        environ = dict(os.environ) if environ is None else environ
        self._address = environ.get("NOTIFY_SOCKET", "")
        period = 0.0
        if environ.get("WATCHDOG_PID", str(pid or os.getpid())) == str(pid or os.getpid()):
            try:
                period = int(environ.get("WATCHDOG_USEC", "0")) / 1e6 / 2
            except ValueError:
                period = 0.0
        self._period = period if self._address else 0.0
        self._next_watchdog = 0.0 if self._period else math.inf
        self._next_extension = math.inf
        self._status = ""

    @property
    def wake_at(self) -> float:
        """When `tick` has something to say next."""
        return min(self._next_watchdog, self._next_extension)

    def send(self, *lines: str) -> None:
        """Send lines. Never blocks, and never fails: a service manager that is gone must not stop a server."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.setblocking(False)
            sock.sendto("\n".join(lines).encode(), address)

    def status(self, text: str) -> None:
        if text != self._status:
            self._status = text
            self.send(f"STATUS={text}")

    def starting(self, now: float) -> None:
        if self._address:
            self._next_extension = now

    def ready(self) -> None:
        self._next_extension = math.inf
        self.send("READY=1")

    def reloading(self, now: float) -> None:
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        self.starting(now)

    def stopping(self) -> None:
        self._next_extension = math.inf
        self.send("STOPPING=1")

    def tick(self, now: float) -> None:
        """Say what is due."""
        if now >= self._next_watchdog:
            self.send("WATCHDOG=1")
            self._next_watchdog = now + self._period
        if now >= self._next_extension:
            self.send(f"EXTEND_TIMEOUT_USEC={int(_EXTENSION * 1e6)}")
            self._next_extension = now + _EXTENSION / 2
