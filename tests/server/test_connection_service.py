"""What connections share, what they are upgraded to and logged as, and the rarer ways through them."""

from __future__ import annotations

import asyncio
import socket
import time
from math import inf
from typing import Any

import pytest

from uvicorn.server.ending import CLOSED, IDLE
from uvicorn.server.httptools_protocol import HttpToolsProtocol
from uvicorn.server.service import Service

from .serving import (
    DEADLINE,
    EVENT_LOOPS,
    GET,
    LAST,
    NEVER,
    POST5,
    Gate,
    Served,
    body,
    eager,
    early,
    echo,
    hello,
    is_refusal,
    request,
    run,
    start,
    stop,
    until,
)

# -- The service, upgrade, log -----------------------------------------------------------------------------------------


def test_all_connections_of_a_server_share_one_service() -> None:
    async def job() -> None:
        async with Served(hello) as served:
            await served.ask()
            await served.ask()
            services = {id(protocol.service) for protocol in served.protocols}
            assert services == {id(served.state.service)}
            assert isinstance(served.state.service, Service)

    run(job())


def test_a_protocol_may_be_made_without_a_loop_and_with_a_config_that_is_not_loaded() -> None:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    async def job() -> None:
        config = Config(hello, http="h11", lifespan="off", log_config=None, ws="none")
        state = ServerState()
        protocol = HttpToolsProtocol(config=config, server_state=state, app_state={})
        assert config.loaded
        assert protocol.service.loop is asyncio.get_running_loop()
        assert state.service is protocol.service

    run(job())


class Upgraded(asyncio.Protocol):
    """Stands for the WebSocket protocol."""

    made: list[Upgraded]

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any) -> None:
        self.state = server_state
        self.data = b""
        Upgraded.made.append(self)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.state.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.state.connections.discard(self)


UPGRADE = request("/ws", b"Connection: Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Key: x")


@EVENT_LOOPS
@pytest.mark.parametrize("before", [b"", GET, GET * 2], ids=["first", "second", "pipelined"])
def test_an_upgrade_hands_the_connection_over_with_every_octet_behind_the_head(before: bytes, loop: str) -> None:
    async def job() -> None:
        Upgraded.made = []
        async with Served(hello, ws=Upgraded) as served:
            client = await served.connect()
            await client.send(before + UPGRADE + b"\x81frames")
            for _ in range(before.count(b"GET")):
                await client.response()
            await until(lambda: Upgraded.made, "the connection was handed over")
            await client.send(b" and more")
            protocol = Upgraded.made[0]
            await until(lambda: protocol.data.endswith(b"more"), "the rest has arrived")
            assert protocol.data == UPGRADE + b"\x81frames and more"
            assert served.state.connections == {protocol}
            assert served.connection.phase == CLOSED
            await asyncio.sleep(0)
            assert not served.state.tasks

    run(job(), loop)


def test_what_is_no_websocket_is_served_as_http() -> None:
    async def job() -> None:
        Upgraded.made = []
        async with Served(hello, ws=Upgraded) as served:
            for raw in (
                request("/", b"Connection: upgrade", b"Upgrade: h2c"),
                request("/", b"Connection: upgrade", b"Upgrade: websocket", method=b"POST", body=b"x"),
            ):
                client = await served.connect()
                assert (await client.ask(raw)).body == b"hello"
                assert (await client.ask(GET)).body == b"hello"
            assert not Upgraded.made
            assert "Unsupported upgrade request." in served.log

    run(job())


def test_a_flood_of_refusals_is_a_few_lines_that_count_the_rest() -> None:
    async def job() -> None:
        async with Served(hello) as served:
            begun = time.monotonic()
            for _ in range(30):
                client = await served.connect()
                await client.send(b"nonsense\r\n\r\n")
                await client.rest()
                client.close()
            assert 10 <= len(served.log) <= 10 * (2 + int(time.monotonic() - begun))
            assert served.log[0].startswith("Invalid HTTP request received. (127.0.0.1:")
            assert "invalid request line" in served.log[0]

    run(job())


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (GET.replace(b"Host", b"Hsot"), "Invalid HTTP request received. (127.0.0.1:%d: missing Host)"),
        (b"GET /" + b"a" * 9000, "Request refused: request line over 8190 octets (414). (127.0.0.1:%d)"),
        (b"GET / HT", "Closed on time-out. (127.0.0.1:%d: head not complete in 0.3 s)"),
    ],
)
def test_a_refusal_says_who_and_why(raw: bytes, line: str) -> None:
    async def job() -> None:
        async with Served(hello, timeout_request_header=0.3) as served:
            client = await served.connect()
            await client.send(raw)
            await client.rest()
            assert served.log == [line % client.sock.getsockname()[1]]

    run(job())


def test_a_trace_tells_of_every_connection() -> None:
    async def job() -> None:
        async with Served(hello) as served:
            served._logger.setLevel(5)
            await served.ask()
            await until(lambda: len(served.log) == 2, "both lines are logged")
            assert [line.partition(" - ")[2] for line in served.log] == ["HTTP connection made", "HTTP connection lost"]

    run(job())


# -- Rarer ways --------------------------------------------------------------------------------------------------------


@EVENT_LOOPS
def test_a_half_close_behind_the_head_of_the_answer_ends_the_connection_after_it(loop: str) -> None:
    async def job() -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start(200, (b"content-length", b"5")))
            await go.wait()
            await send(body(b"hello"))

        async with Served(app, **NEVER) as served:
            client = await served.connect()
            await client.send(GET)
            while b"\r\n\r\n" not in client.buffer:
                assert await client.read_more()
            client.half_close()
            await until(lambda: served.connection.half_closed, "the half-close was noticed")
            go.set()
            response = await client.response()
            assert (response.body, response.says_close) == (b"hello", False)
            assert await client.ends() == "eof"

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_body_that_goes_bad_in_the_middle_of_the_answer_cuts_it(version: bytes, loop: str) -> None:
    async def job() -> None:
        found: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            await send(body(b"begun", True))
            found.append((await receive())["type"])
            await send(body(b"more"))

        async with Served(app, **(NEVER | {"timeout_request_body": 0.2})) as served:
            client = await served.connect()
            if version == b"1.1":
                await client.send(request("/", b"Transfer-Encoding: chunked", method=b"POST") + b"zz\r\n")
            else:
                await client.send(request("/", b"Content-Length: 5", method=b"POST", version=version))
            data = await client.rest()
            assert not data.endswith(b"0\r\n\r\n")
            assert b"more" not in data
            assert data.count(b"HTTP/1.1") == 1
            if b"begun" in data:  # nothing was written when the refusal came first
                assert client.ended == ("eof" if version == b"1.1" else "reset")
            await until(lambda: found, "the application was told")
            assert found == ["http.disconnect"]

    run(job(), loop)


def test_head_is_refused_and_failed_without_a_body() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError

    async def job() -> None:
        async with Served(fails) as served:
            client = await served.connect()
            response = await client.ask(request(method=b"HEAD"))
            assert (response.status, response.all(b"content-length")) == (500, [b"21"])
            assert await client.ends() == "eof"

    run(job())


@EVENT_LOOPS
def test_an_application_that_sends_and_receives_at_once_has_one_deadline_after_the_other(loop: str) -> None:
    async def job() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            waiting = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            await send(start())
            await send(body(b"x" * 10_000_000, True))
            await send(body(b"y" * 10, True))
            assert served.connection.deadline < inf, "the client may send now"
            await waiting
            await send(body())

        async with Served(app, **NEVER) as served:
            client = await served.connect(receive_buffer=8192)
            await client.send(POST5)
            connection = served.connection
            await until(lambda: connection.write_paused, "the client does not read")
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
            reading = asyncio.ensure_future(client.response())
            await until(lambda: not connection.write_paused, "the client reads")
            await client.send(b"12345")
            assert len((await reading).body) == 10_000_010
            assert served.log == []

    run(job(), loop)


@EVENT_LOOPS
def test_an_upgrade_behind_a_paused_reading_is_read_again(loop: str) -> None:
    frames = b"\x82" * 300_000

    async def job() -> None:
        Upgraded.made = []
        gate = Gate()
        async with Served(gate, ws=Upgraded) as served:
            client = await served.connect()
            sending = asyncio.ensure_future(client.send(request("/slow") + UPGRADE + frames))
            await gate.inside.wait()
            await until(lambda: served.connection._reading_paused, "reading is paused")
            gate.go.set()
            await client.response()
            await sending
            await until(lambda: Upgraded.made and len(Upgraded.made[0].data) == len(UPGRADE + frames), "all came")

    run(job(), loop)


@pytest.mark.parametrize("part", [b"", b"GET", b"\r\nGET / HTTP/1.1\r\n"])
def test_a_stop_waits_no_longer_for_the_rest_of_a_head(part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uvicorn.server.ending._FRESH_GRACE", 0.5)

    async def job() -> None:
        async with Served(hello, **NEVER) as served:
            client = await served.connect()
            stop(served)
            await client.send(part)
            data = await client.rest()
            assert is_refusal(data, 408) if part else data == b""

    run(job())


@pytest.mark.parametrize("count", [1, 3, 20])
def test_requests_may_be_answered_by_tasks_that_start_eagerly(count: int) -> None:
    async def job() -> None:
        async with Served(early) as served:
            served.loop.set_task_factory(eager)
            client = await served.connect()
            raw = request(method=b"POST", body=b"abc") + GET
            raw += request("/", b"Transfer-Encoding: chunked", method=b"POST") + b"1\r\na\r\n0\r\n\r\n"
            await client.send(raw * count)
            for _ in range(3 * count):
                assert (await client.response()).body == b"early"
            assert not served.state.tasks
            assert served.connection.phase == IDLE
            assert (await client.ask(LAST)).says_close
            assert await client.ends() == "eof"

    run(job())


def test_over_tls_the_scheme_is_https_and_the_end_is_clean(certificates: Any) -> None:
    async def job() -> None:
        scopes: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scopes.append(scope)
            await echo(scope, receive, send)

        settings = {"ssl_keyfile": str(certificates.key), "ssl_certfile": str(certificates.certificate)}
        async with Served(app, **settings) as served:
            server = await served.loop.create_server(served.make, "127.0.0.1", 0, ssl=served.config.ssl)
            port = server.sockets[0].getsockname()[1]
            for raw, words in (
                (request(method=b"POST", body=b"x" * 100_000) + LAST, [b"200 OK", b"x" * 100_000]),
                (b"nonsense\r\n\r\n", [b"400 Bad Request", b"Invalid HTTP request received."]),
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=certificates.context())
                writer.write(raw)
                data = await asyncio.wait_for(reader.read(), DEADLINE)
                assert all(word in data for word in words)
                writer.close()
                await writer.wait_closed()
            assert scopes[0]["scheme"] == "https"
            server.close()

    run(job())
