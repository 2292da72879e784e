"""Clients that keep asking while a server is stopped, reloaded, killed: the judges of "no request lost".

They never retry. A request that was sent and not answered whole is a failure, whatever the reason.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from .wire import Truncated, Wire, WireError

if TYPE_CHECKING:
    import ssl

    from .wire import Address

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Report:
    """What the connections of one `LoadClient` saw."""

    answers: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: Counter[bytes] = field(default_factory=Counter)
    """Answers by the first 100 octets of their body, say the pid of a worker."""
    refused: int = 0
    """Connections that could not be made."""
    resets: int = 0
    """Requests sent and answered by a reset."""
    dropped: int = 0
    """Requests sent and answered by an end-of-file alone."""
    short: int = 0
    """Answers that ended early."""
    broken: int = 0
    """Answers that broke a rule of HTTP."""
    timeouts: int = 0
    unexpected: int = 0
    """Answers of another status than the wanted."""
    closed_idle: int = 0
    """Connections that the server had closed when the next request was about to be sent: allowed, no failure."""
    details: list[str] = field(default_factory=list)
    """One line per failure, with its time since the start; the first 50."""
    longest_gap: float = 0.0
    """Seconds: the longest time without an answer on any connection, the start and the end among the borders."""
    gap_ended_at: float = 0.0
    """Seconds from the start to the end of that gap."""
    seconds: float = 0.0

    @property
    def failures(self) -> int:
        return self.refused + self.resets + self.dropped + self.short + self.broken + self.timeouts + self.unexpected

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.answers} answers in {self.seconds:.1f} s, {self.failures} failures "
                f"({self.refused} refused, {self.resets} reset, {self.dropped} dropped, {self.short} short, "
                f"{self.broken} broken, {self.timeouts} timed out, {self.unexpected} of an unexpected status); "
                f"{self.closed_idle} closed while idle; longest gap {self.longest_gap:.3f} s",
                *(f"  {detail}" for detail in self.details),
            ]
        )


class LoadClient:
    """`connections` clients that each send `request` again and again, each on a connection kept alive.

    `pause`: seconds between an answer and the next request of one connection. `keep_alive=False`: a new connection for
    every request. Connections ask until `stop()`; a failure ends the connection, and a new one is made for the next.
    """

    def __init__(
        self,
        address: Address,
        *,
        connections: int = 8,
        request: bytes = GET,
        method: str = "GET",
        status: int = 200,
        pause: float = 0.005,
        keep_alive: bool = True,
        timeout: float = 30,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.address = getattr(address, "address", address)
        self.request = request
        self.method = method
        self.status = status
        self.pause = pause
        self.keep_alive = keep_alive
        self.timeout = timeout
        self.tls = tls
        self.report = Report()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._last = 0.0
        self._threads = [threading.Thread(target=self._run, name=f"load {n}", daemon=True) for n in range(connections)]

    def start(self) -> LoadClient:
        self._started = self._last = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def wait_for_answers(self, count: int, timeout: float = 60) -> None:
        """Wait until `count` more answers than now have come."""
        with self._changed:
            wanted = self.report.answers + count
            if not self._changed.wait_for(lambda: self.report.answers >= wanted, timeout):
                raise AssertionError(f"fewer than {count} more answers in {timeout} s: {self.report}")

    def stop(self) -> Report:
        """Let every connection finish its request, and return what they saw."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(self.timeout + 5)
            if thread.is_alive():
                raise AssertionError(f"{thread.name} does not end: {self.report}")
        with self._changed:
            now = time.monotonic()
            self._gap(now)
            self.report.seconds = now - self._started
        return self.report

    def __enter__(self) -> LoadClient:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(self.timeout + 5)

    # -- in the threads --

    def _gap(self, now: float) -> None:
        if now - self._last > self.report.longest_gap:
            self.report.longest_gap = now - self._last
            self.report.gap_ended_at = now - self._started
        self._last = now

    def _failed(self, kind: str, detail: object) -> None:
        with self._changed:
            setattr(self.report, kind, getattr(self.report, kind) + 1)
            if len(self.report.details) < 50:
                after = time.monotonic() - self._started
                self.report.details.append(f"{after:.3f} s: {kind}: {str(detail)[:300]}")

    def _run(self) -> None:
        wire: Wire | None = None
        while not self._stopping.is_set():
            if wire is not None and wire.is_readable():
                with self._changed:
                    self.report.closed_idle += 1
                wire.close()
                wire = None
            if wire is None:
                try:
                    wire = Wire.connect(self.address, tls=self.tls, timeout=self.timeout)
                except OSError as error:
                    self._failed("timeouts" if isinstance(error, TimeoutError) else "refused", error)
                    self._stopping.wait(0.01)
                    continue
            if not self._ask(wire):
                wire.close()
                wire = None
            self._stopping.wait(self.pause)
        if wire is not None:
            wire.close()

    def _ask(self, wire: Wire) -> bool:
        """Send one request and judge the answer; False when the connection is over."""
        try:
            wire.send(self.request)
            response = wire.read_response(self.method)
        except Truncated as error:
            if wire.received:
                self._failed("short", error)
            else:
                self._failed("resets" if wire.ended == "reset" else "dropped", error)
        except WireError as error:
            self._failed("broken", error)
        except TimeoutError as error:
            self._failed("timeouts", error)
        except OSError as error:
            self._failed("resets", error)
        else:
            with self._changed:
                self.report.answers += 1
                self.report.statuses[response.status] += 1
                self.report.bodies[response.body[:100]] += 1
                self._gap(time.monotonic())
                self._changed.notify_all()
            if response.status != self.status:
                self._failed("unexpected", f"{response.status} {response.body[:100]!r}")
            return self.keep_alive and response.keeps_alive
        return False
