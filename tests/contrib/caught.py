"""Clients that a reload, a restart or a stop meets in each state that a connection can be in. None of them retries.

What a client sends when it likes proves little: it may have been between two requests at the moment that counted. Here
the moment is known. Some requests are being answered and cannot end before it, of some the head is sent in part, some
connections have sent nothing yet, some have been answered once; after the moment all of them go on, and each must get
its whole answer.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tests.support.load import LoadClient
from tests.support.wire import Response, Wire, WireError

from .helpers import until

if TYPE_CHECKING:
    import ssl

    from tests.support.wire import Address

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF = len(GET) // 2
LAST = b"\r\n0\r\n\r\n"  # of a chunked answer
TIMEOUT = 60  # seconds for an answer
WELCOME = 7  # seconds; after ten without a whole head a server lets a connection go, and rightly so


class Caught:
    """A context manager; `folder` is the application's, as it is seen here. `count` connections in each state."""

    def __init__(self, address: Address, folder: Path, count: int = 3, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.tls = tls
        self.gate = folder / f"gate-{uuid.uuid4().hex}"
        self.count = count
        self.closed_idle = 0
        """Connections without a request that were closed before the next one was sent: a client sees that in time."""
        self.went_on = 0
        """Requests that were sent, whole or the rest of them, after the moment."""
        self._stack = ExitStack()

    def __enter__(self) -> Caught:
        self._connected_at = time.monotonic()
        try:
            self.busy, self.half, self.fresh, self.idle = (self._connect() for _ in range(4))
            for wire in self.busy:
                wire.send(f"GET /hold?{self.gate.name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            for wire in self.idle:
                assert wire.request(GET).keeps_alive
            for wire in self.half:
                wire.send(GET[:HALF])
            for wire in self.busy:
                seen = b""
                while b"held\n" not in seen:
                    seen += (part := wire.read_some())
                    assert part, f"ended before it was held: {seen!r}"
        except BaseException:
            self._stack.close()
            raise
        return self

    def _connect(self) -> list[Wire]:
        return [
            self._stack.enter_context(Wire.connect(self.address, timeout=TIMEOUT, tls=self.tls))
            for _ in range(self.count)
        ]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.gate.touch()
        self._stack.close()

    def go_on(self) -> None:
        """The moment has come and is not over: let every client send what it has to send, and read its answer.

        Where the machine took so long that the server may have lost patience, only what is in flight is judged.
        """
        patient = time.monotonic() - self._connected_at < WELCOME
        waiting: list[tuple[str, Wire]] = [("half a head", wire) for wire in self.half if patient]
        for _, wire in waiting:
            wire.send(GET[HALF:])
        for state, wires in (("nothing sent", self.fresh), ("idle", self.idle)) if patient else ():
            for wire in wires:
                if wire.is_readable():
                    self.closed_idle += 1
                else:
                    wire.send(GET)
                    waiting.append((state, wire))
        lost = [f"{state}: {why}" for state, wire in waiting if (why := self._lost(wire))]
        self.gate.touch()
        for wire in self.busy:
            rest = self._rest(wire)
            lost += [] if b"let go\n" in rest and rest.endswith(LAST) else [f"in flight: {rest!r}"]
        self.went_on = len(waiting)
        assert not lost, f"{len(lost)} of {len(waiting) + self.count} requests lost:\n  " + "\n  ".join(lost)

    @staticmethod
    def _rest(wire: Wire) -> bytes:
        """Read the rest of a chunked answer, or what comes of it."""
        rest = b""
        try:
            while not rest.endswith(LAST) and (part := wire.read_some()):
                rest += part
        except (OSError, WireError) as error:
            rest += repr(error).encode()
        return rest

    @staticmethod
    def _lost(wire: Wire) -> str:
        """Say what came instead of an answer."""
        try:
            answer: Response = wire.read_response()
        except (OSError, WireError) as error:
            return repr(error)
        return "" if answer.status == 200 else str(answer.status)


@contextmanager
def held(address: Address, gate: str = "gate", tls: ssl.SSLContext | None = None) -> Iterator[Wire]:
    """A connection whose request is being answered until the file `gate` is there; the answer ends with LAST."""
    with Wire.connect(address, timeout=TIMEOUT, tls=tls) as wire:
        wire.send(f"GET /hold?{gate} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        seen = b""
        while b"held\n" not in seen:
            seen += (part := wire.read_some())
            assert part, f"ended before it was held: {seen!r}"
        yield wire


def assert_nothing_lost(
    address: Address,
    folder: Path,
    act: Callable[[], object],
    *,
    leaving: Callable[[], int],
    moments: int,
    settled: Callable[[], object],
    log: Callable[[], str] = str,
    tls: ssl.SSLContext | None = None,
) -> None:
    """`act`, which replaces processes, under load; fail if a single request is not answered whole.

    `leaving` counts the processes that have begun to leave so far. Each of the next `moments` times that one does, a
    group of clients in every state goes on. `settled` waits for the end of it all.
    """
    with ExitStack() as stack:
        kept = stack.enter_context(LoadClient(address, connections=4, timeout=TIMEOUT, tls=tls))
        fresh = stack.enter_context(LoadClient(address, connections=2, keep_alive=False, timeout=TIMEOUT, tls=tls))
        for load in (kept, fresh):
            load.wait_for_answers(10)
        groups = [stack.enter_context(Caught(address, folder, tls=tls)) for _ in range(moments)]
        before = leaving()
        job = stack.enter_context(ThreadPoolExecutor(1)).submit(act)
        for number, group in enumerate(groups, 1):
            until(lambda wanted=before + number: leaving() >= wanted, f"{number} processes leave", 60, log)
            group.go_on()
        job.result(120)
        settled()
        for load in (kept, fresh):
            load.wait_for_answers(10)
        reports = [kept.stop(), fresh.stop()]
    assert [report.failures for report in reports] == [0, 0], "\n".join([*map(str, reports), log()])
    in_flight, others = sum(len(group.busy) for group in groups), sum(group.went_on for group in groups)
    print(f"0 lost: {in_flight} in flight, {others} begun or connected; load: {reports[0]}; {reports[1]}")
