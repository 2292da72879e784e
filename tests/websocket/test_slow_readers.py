"""Clients that read slowly: nothing that was sent is cut off while it is on its way, however long that takes.

The clock is moved by hand: `expired` is what the sweep calls when a deadline has passed.
"""

from __future__ import annotations

from typing import Any

import pytest

from uvicorn.server import websocket_ending
from uvicorn.server.utils import untaken
from uvicorn.server.websocket_handshake import CLOSED, CLOSING, LINGER

from .harness import BINARY, ENGINES, Client, Frame, Recorder, Served, handshake

pytestmark = pytest.mark.parametrize("engine", ENGINES)

LARGE = 20_000_000  # octets, more than the kernel takes
PATIENT = {"timeout_write": 3600, "ws_ping_interval": None}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("_LINGER", "CLOSE_TIMEOUT"):
        monkeypatch.setattr(websocket_ending, limit, 3600.0)


class Watched:
    """The one connection of a server."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.connection: Any = served.call(lambda: next(iter(served.connections)))

    def waiting(self) -> int:
        octets: int = self.served.call(lambda: untaken(self.connection.transport))
        return octets

    def pass_time(self) -> bool:
        """Let what deadline there is pass; return whether the connection is still there."""
        connection = self.connection

        def late() -> bool:
            connection.expired(connection.deadline + 1)
            return connection.phase is not CLOSED

        there: bool = self.served.call(late)
        return there

    def read_some(self, client: Client) -> int:
        """Read until the server can see it; return how many octets that took."""
        before = self.waiting()
        read = 0
        while self.waiting() >= before:
            read += len(client.wire.read_exactly(100_000))
        return read

    def reaches(self, phase: Any) -> None:
        self.served.wait_until(lambda: self.connection.phase is phase, f"the phase is {phase!r}")


async def large_and_end(app: Recorder) -> None:
    await app.send("accept")
    await app.send("send", bytes=bytes(LARGE))


async def large_denial(app: Recorder) -> None:
    await app.send("http.response.start", status=403, headers=[])
    await app.send("http.response.body", body=bytes(LARGE))


async def large_and_stay(app: Recorder) -> None:
    await app.send("accept")
    await app.send("send", bytes=bytes(LARGE))
    await app.receive()


def test_the_last_message_reaches_who_reads_slowly(engine: str) -> None:
    with Served(Recorder(large_and_end), engine, **PATIENT) as served, served.open() as client:
        watched = Watched(served)
        watched.reaches(CLOSING)
        read = 0
        for _ in range(3):
            read += watched.read_some(client)
            assert watched.pass_time()
        rest = client.wire.read_exactly(LARGE + 10 - read)  # with the head of the frame
        assert rest.count(0) == len(rest)
        assert client.read_close() == (1000, "")


def test_a_denial_reaches_who_reads_slowly(engine: str) -> None:
    with Served(Recorder(large_denial), engine, **PATIENT) as served, served.connect() as client:
        client.wire.send(handshake())
        assert client.wire.read_exactly(12) == b"HTTP/1.1 403"
        watched = Watched(served)
        watched.reaches(LINGER)
        read = 0
        for _ in range(3):
            read += watched.read_some(client)
            assert watched.pass_time()
        rest = client.wire.read_until_close()
        assert rest.endswith(bytes(LARGE - read))


def test_who_does_not_read_the_last_message_is_dropped(engine: str) -> None:
    with Served(Recorder(large_and_end), engine, **PATIENT) as served, served.open():
        watched = Watched(served)
        watched.reaches(CLOSING)
        served.wait_until(lambda: not watched.pass_time(), "the connection is given up")
        served.wait_until(lambda: not served.connections, "the connection is forgotten")


def test_who_has_read_all_and_does_not_close_is_dropped_at_once(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")

    with Served(Recorder(script), engine, **PATIENT) as served, served.open() as client:
        watched = Watched(served)
        assert client.read_close() == (1000, "")
        served.wait_until(lambda: watched.waiting() == 0, "the kernel of the client has taken all")
        assert not watched.pass_time()


def test_who_reads_a_little_now_and_then_is_no_client_that_does_not_read(engine: str) -> None:
    app = Recorder(large_and_stay)
    with Served(app, engine, **PATIENT) as served, served.open() as client:
        watched = Watched(served)
        served.wait_until(lambda: watched.connection._write_paused, "the buffers are full")
        watched.read_some(client)
        assert watched.pass_time()
        assert served.lines(containing="does not read") == []
        served.wait_until(lambda: not watched.pass_time(), "the client is given up")
        served.wait_for_line("the client does not read")
        assert app.finished()[-1]["code"] == 1006


def test_messages_are_whole_after_all(engine: str) -> None:
    with Served(Recorder(large_and_end), engine, **PATIENT) as served, served.open() as client:
        Watched(served).reaches(CLOSING)
        assert client.read() == Frame(BINARY, bytes(LARGE))
        assert client.close() == (1000, "")
