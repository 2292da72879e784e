"""Clients that leave: what an application is told, and that it is nobody's failure."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from uvicorn.protocols.utils import ClientDisconnected

from .harness import ENGINES, Recorder, Served, echo, frame, handshake

pytestmark = pytest.mark.parametrize("engine", ENGINES)

WAYS = ["close", "eof", "reset"]


def leave(client: Any, how: str) -> None:
    if how == "close":
        client.close(1001)
    elif how == "eof":
        client.wire.half_close()
    else:
        client.wire.reset()


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("waits", ["receives", "sends"])
def test_an_application_of_starlette_that_does_not_catch_it_logs_no_traceback(
    engine: str, waits: str, how: str
) -> None:
    seen: list[BaseException] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                if waits == "receives":
                    await websocket.receive_text()
                else:
                    await websocket.send_text("x" * 100_000)
        except WebSocketDisconnect as exc:
            seen.append(exc)
            raise

    with Served(Starlette(routes=[WebSocketRoute("/", endpoint)]), engine) as served, served.open() as client:
        leave(client, how)
        served.wait_until(lambda: bool(seen), "the application is told")
        served.wait_for_line("connection closed")
        served.wait_until(lambda: not served.server.server_state.tasks, "the application has ended")
        assert served.errors == []
        assert not any(record.exc_info for record in served.log.records)


ESCAPING: dict[str, tuple[BaseException, bool]] = {
    "ours": (ClientDisconnected(), True),
    "of a group of tasks": (ExceptionGroup("tasks", [ClientDisconnected(), WebSocketDisconnect(1006)]), True),
    "beside another in a group": (ExceptionGroup("tasks", [ClientDisconnected(), KeyError("bug")]), False),
    "a bug": (KeyError("bug"), False),
}


@pytest.mark.parametrize(("error", "silent"), ESCAPING.values(), ids=ESCAPING.keys())
def test_what_else_an_application_raises_then_is_its_failure(engine: str, error: BaseException, silent: bool) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        await app.receive()
        raise error

    app = Recorder(script)
    with Served(app, engine) as served, served.open() as client:
        client.close()
        app.finished()
        served.wait_until(lambda: not served.server.server_state.tasks, "the application has ended")
        assert len(served.errors) == (0 if silent else 1)
        assert bool(served.lines(containing="Exception in ASGI application")) is not silent


def test_a_disconnect_that_did_not_happen_is_a_failure(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        raise ClientDisconnected

    with Served(Recorder(script), engine) as served, served.open() as client:
        assert client.read_close() == (1011, "")
        served.wait_for_line("Exception in ASGI application")


class Bottomless:
    """A transport whose client reads faster than anybody writes."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        pass

    def writelines(self, data: Iterable[bytes]) -> None:
        pass


@pytest.mark.parametrize("size", [0, 1000, 1 << 17])
def test_an_application_that_only_sends_lets_others_run(engine: str, size: int) -> None:
    turns: list[int] = []

    async def script(app: Recorder) -> None:
        await app.send("accept")
        await app.gate.wait()
        asyncio.get_running_loop().call_soon(turns.append, 1)
        for _ in range(10_000):
            await app.send("send", bytes=b"x" * size)
            if turns:
                return

    app = Recorder(script)
    with Served(app, engine) as served, served.open():
        (connection,) = served.connections

        def widen() -> None:
            connection.transport = Bottomless(connection.transport)
            app.gate.set()

        served.call(widen)
        app.finished()
        assert turns, "10,000 messages were sent, and nobody else ran"
        connection.transport = connection.transport._transport


@pytest.mark.parametrize("octets", [handshake() + frame(0xB), handshake(key="abc"), b"no HTTP\r\n\r\n"])
def test_a_client_that_resets_while_we_hang_up_is_no_error(
    engine: str, octets: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_connected(_: Any) -> None:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    # What asyncio passes on when the reset comes between our last octets and this, too seldom to be waited for.
    monkeypatch.setattr("asyncio.selector_events._SelectorSocketTransport.write_eof", not_connected)
    unexpected: list[Any] = []
    with Served(echo, engine, loop="asyncio") as served:
        assert served.loop is not None
        served.loop.set_exception_handler(lambda _, context: unexpected.append(context))
        with served.connect() as client:
            client.wire.send(octets)
            client.ended()
        served.wait_until(lambda: not served.connections and not served.server.server_state.tasks, "all is forgotten")
        assert unexpected == []
        assert served.errors == []
