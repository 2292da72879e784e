"""WebSockets when the server stops, a worker retires, a limit is reached: every client gets its close frame."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .harness import ENGINES, TEXT, Client, Recorder, Served, close_frame, echo, frame, handshake

pytestmark = pytest.mark.parametrize("engine", ENGINES)

MANY = 200


class Counting:
    """Echo, and count the disconnects by code."""

    def __init__(self) -> None:
        self.codes: list[int] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send(message | {"type": "websocket.send"})
        self.codes.append(message["code"])


def ends(clients: list[Client]) -> list[int | None]:
    """Read each client's close frame, answer it, and see the connection end in order."""
    codes = []
    for client in clients:
        code, _ = client.read_close()
        codes.append(code)
        client.send(close_frame(code))
    assert {client.ended() for client in clients} == {"eof"}
    return codes


def test_a_stopping_server_closes_all_with_1012_and_tells_the_application(engine: str) -> None:
    app = Counting()
    with Served(app, engine) as served:
        clients = [served.open() for _ in range(MANY)]
        served.server.should_exit = True
        assert ends(clients) == [1012] * MANY
        served.stop()
        assert app.codes == [1012] * MANY
        assert served.errors == []


def test_a_retiring_worker_closes_all_with_1012_spread_over_a_moment(engine: str) -> None:
    app = Counting()
    with Served(app, engine) as served:
        clients = [served.open() for _ in range(MANY)]
        connections = list(served.connections)
        loop: Any = served.loop
        before, deadlines, after = served.call(
            lambda: (
                loop.time(),
                [connection.retire() or connection.deadline for connection in connections],
                loop.time(),
            )
        )
        assert max(deadlines) - min(deadlines) > 0.5
        assert before <= min(deadlines)
        assert max(deadlines) <= after + 1.0
        assert ends(clients) == [1012] * MANY
        served.wait_until(lambda: app.codes == [1012] * MANY, "the application is told")
        assert served.errors == []


def test_the_moment_is_shorter_than_the_graceful_limit(engine: str) -> None:
    with Served(echo, engine, timeout_graceful_shutdown=0) as served, served.open():
        (connection,) = served.connections
        assert served.call(lambda: connection.retire() or connection.deadline - served.loop.time()) <= 0  # type: ignore[union-attr]


def test_a_server_that_retires_drains_its_websockets(engine: str) -> None:
    app = Counting()
    with Served(app, engine) as served:
        clients = [served.open() for _ in range(20)]
        served.call(served.server.retire)
        assert ends(clients) == [1012] * 20
        served._thread.join(60)
        assert not served._thread.is_alive()
        assert app.codes == [1012] * 20
        assert served.errors == []


def test_messages_that_wait_are_delivered_before_the_disconnect_of_a_stop(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        await app.gate.wait()
        while (await app.receive())["type"] != "websocket.disconnect":
            pass

    app = Recorder(script)
    with Served(app, engine) as served, served.open() as client:
        client.send(frame(TEXT, b"1"), frame(TEXT, b"2"))
        (connection,) = served.connections
        served.wait_until(lambda: len(connection._inbox) == 2, "both messages wait")
        served.server.should_exit = True
        assert client.read_close() == (1012, "")
        served.call(lambda: app.gate.set())
        client.send(close_frame(1012))
        app.finished()
        assert app.messages == ["1", "2"]
        assert app.events[-1] == {"type": "websocket.disconnect", "code": 1012, "reason": ""}


def test_a_stop_before_the_accept_is_answered_with_503(engine: str) -> None:
    async def script(app: Recorder) -> None:
        app.opened.set()
        await app.receive()
        await app.try_send("accept")

    app = Recorder(script)
    with Served(app, engine) as served, served.connect() as client:
        client.wire.send(handshake())
        assert app.opened.wait(30)
        served.server.should_exit = True
        response = client.read_handshake()
        assert (response.status, response.body) == (503, b"Service Unavailable")
        assert app.finished()[1:] == [{"type": "websocket.disconnect", "code": 1012, "reason": ""}]
        served.stop()
        assert served.errors == []


def test_a_handshake_that_a_retiring_worker_has_begun_is_finished(engine: str) -> None:
    async def script(app: Recorder) -> None:
        app.opened.set()
        await app.gate.wait()
        await app.send("accept")
        await app.receive()

    app = Recorder(script)
    with Served(app, engine) as served, served.connect() as client:
        client.wire.send(handshake())
        assert app.opened.wait(30)
        (connection,) = served.connections
        served.call(connection.retire)
        served.call(lambda: app.gate.set())
        assert client.read_handshake().status == 101
        assert client.read_close() == (1012, "")
        assert app.finished()[-1] == {"type": "websocket.disconnect", "code": 1012, "reason": ""}


def test_an_application_that_does_not_heed_the_stop_is_cancelled_at_the_limit_without_a_traceback(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        await asyncio.sleep(3600)

    app = Recorder(script)
    with Served(app, engine, timeout_graceful_shutdown=1) as served, served.open() as client:
        served.server.should_exit = True
        assert client.read_close() == (1012, "")
        served._thread.join(60)
        assert not served._thread.is_alive()
        assert app.done.is_set()
        assert [line for line in served.errors if "Exception in ASGI" in line] == []


def test_websockets_count_towards_the_limit_of_requests(engine: str) -> None:
    app = Counting()
    with Served(app, engine, limit_max_requests=3) as served:
        clients = [served.open() for _ in range(3)]
        assert ends(clients) == [1012] * 3
        served._thread.join(60)
        assert not served._thread.is_alive()
        assert served.server.server_state.total_requests == 3


def test_nothing_is_left_of_connections_that_ended(engine: str) -> None:
    with Served(echo, engine) as served:
        for how in ("close", "eof", "reset", "violation"):
            client = served.open()
            if how == "close":
                client.close()
            elif how == "eof":
                client.wire.half_close()
            elif how == "violation":
                client.send(b"\xff\xff")
                client.read_close()
            client.wire.reset() if how == "reset" else client.wire.close()
        state = served.server.server_state
        served.wait_until(lambda: not state.connections and not state.tasks, "no connection, no task")
