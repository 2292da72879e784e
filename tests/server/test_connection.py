"""One connection from inside: phases, deadlines, concurrency, contexts, and nothing left behind it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import time
from math import inf
from typing import Any

import pytest

from uvicorn.server.connection import HTTPConnection
from uvicorn.server.cycle import RequestResponseCycle
from uvicorn.server.ending import BUSY, CLOSED, FRESH, HEAD, IDLE

from .serving import (
    EVENT_LOOPS,
    GET,
    NEVER,
    POST5,
    Client,
    Gate,
    Served,
    body,
    echo,
    hello,
    is_refusal,
    request,
    run,
    start,
    until,
)


async def left_alone(client: Client, seconds: float) -> None:
    """Nothing arrives, and the connection stays, for this long."""
    with pytest.raises(TimeoutError):
        await client.rest(within=seconds)


# -- Phases and deadlines ----------------------------------------------------------------------------------------------


@EVENT_LOOPS
def test_the_phases_of_a_life(loop: str) -> None:
    async def job() -> None:
        gate = Gate(echo)
        async with Served(gate, **NEVER) as served:
            client = await served.connect()
            connection = served.connection
            now = time.monotonic()
            assert connection.phase == FRESH
            assert connection.deadline <= now + 60
            assert connection.deadline > now, "a minute has not passed yet"
            await client.send(b"GET / HT")
            await until(lambda: connection.phase == HEAD, "a part of a head has arrived")
            begun = connection.deadline
            await client.send(b"TP/1.1\r\n")
            await client.send(b"Host: h\r\n")
            await until(lambda: connection._buffer.endswith(b"h\r\n"), "more of the head has arrived")
            assert connection.deadline == begun, "the header time-out is for the whole head"
            await client.send(b"\r\n")
            await client.response()
            assert connection.phase == IDLE
            await client.send(request("/slow", b"Content-Length: 5", method=b"POST"))
            await gate.inside.wait()
            assert (connection.phase, connection.deadline) == (BUSY, inf)
            gate.go.set()
            await until(lambda: connection.deadline < inf, "the application waits for the body")
            await client.send(b"12345")
            await client.response()
            assert connection.phase == IDLE
            assert connection.deadline < inf
            client.close()
            await until(lambda: connection.phase == CLOSED, "the end was noticed")
            assert connection.deadline == inf

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.parametrize(
    ("setting", "sent", "answer"),
    [
        ("timeout_request_header", b"", None),
        ("timeout_request_header", b"G", 408),
        ("timeout_request_header", GET[:-2], 408),
        ("timeout_request_body", POST5, 408),
        ("timeout_request_body", POST5 + b"123", 408),
        ("timeout_request_body", request("/", b"Transfer-Encoding: chunked", method=b"POST") + b"1\r\nx", 408),
        ("timeout_keep_alive", GET, None),
    ],
)
def test_every_wait_for_the_client_has_an_end(setting: str, sent: bytes, answer: int | None, loop: str) -> None:
    async def job() -> None:
        async with Served(echo, **(NEVER | {setting: 0.1})) as served:
            client = await served.connect()
            await client.send(sent)
            if sent == GET:
                await client.response()
            data = await client.rest()
            assert is_refusal(data, answer) if answer else data == b""
            assert client.ended == "eof"

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.parametrize("setting", ["timeout_request_header", "timeout_request_body"])
@pytest.mark.parametrize("sent", [b"", b"GET", POST5])
def test_a_time_out_of_zero_is_none(setting: str, sent: bytes, loop: str) -> None:
    async def job() -> None:
        settings = dict.fromkeys(NEVER, 0.1) | {setting: 0}
        async with Served(echo, **settings) as served:
            client = await served.connect()
            await client.send(sent)
            if (setting == "timeout_request_body") is (sent == POST5):
                await left_alone(client, 0.4)
            else:
                await client.rest()
            client.reset()

    run(job(), loop)


def test_a_keep_alive_of_zero_says_close() -> None:
    async def job() -> None:
        async with Served(hello, timeout_keep_alive=0) as served:
            client = await served.connect()
            assert (await client.ask(GET)).says_close
            assert await client.ends() == "eof"

    run(job())


@EVENT_LOOPS
def test_an_application_that_waits_for_nobody_has_all_the_time(loop: str) -> None:
    async def job() -> None:
        gate = Gate(echo)
        async with Served(gate, **dict.fromkeys(NEVER, 0.2)) as served:
            client = await served.connect()
            await client.send(request("/slow", b"Content-Length: 5", method=b"POST"))
            await left_alone(client, 0.6)
            await client.send(b"12345")
            await until(lambda: served.connection.cycle.buffered == 5, "the body has arrived")
            gate.go.set()
            assert (await client.response()).body == b"12345"

    run(job(), loop)


@EVENT_LOOPS
def test_a_body_that_goes_on_arriving_is_not_late(loop: str) -> None:
    async def job() -> None:
        async with Served(echo, timeout_request_body=0.8) as served:
            client = await served.connect()
            await client.send(POST5)
            for octet in b"12345":
                await asyncio.sleep(0.2)
                await client.send(bytes([octet]))
            assert (await client.response()).body == b"12345"

    run(job(), loop)


def test_a_body_time_out_is_told_to_the_application() -> None:
    async def job() -> None:
        found: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            found.append((await receive())["type"])
            await send(start())
            await send(body(b"too late"))

        async with Served(app, timeout_request_body=0.1) as served:
            client = await served.connect()
            await client.send(POST5)
            assert is_refusal(await client.rest(), 408)
            assert found == ["http.disconnect"]
            assert len(served.log) == 1
            assert "no octet of the body in 0.1 s" in served.log[0]

    run(job())


def test_a_body_that_was_given_up_waiting_for_has_no_deadline() -> None:
    async def job() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(receive(), 0.01)
            await asyncio.sleep(0.3)
            await hello(scope, receive, send)

        async with Served(app, timeout_request_body=0.1) as served:
            assert (await served.ask(POST5)).status == 200

    run(job())


@EVENT_LOOPS
@pytest.mark.parametrize("pause", [b"\r\n", b"\r\n\r\n"])
@pytest.mark.parametrize("together", [True, False])
def test_empty_lines_behind_a_body_begin_no_request(pause: bytes, together: bool, loop: str) -> None:
    async def job() -> None:
        settings = NEVER | {"timeout_keep_alive": 0.5, "timeout_request_header": 0.2}
        async with Served(echo, **settings) as served:
            post = request(method=b"POST", body=b"abc")
            client = await served.connect()
            if together:
                await client.ask(post + pause)
            else:
                await client.ask(post)
                await client.send(pause)
            assert await client.ends() == "eof"
            client = await served.connect()
            await client.ask(post + pause)
            assert (await client.ask(GET)).status == 200
            client = await served.connect()
            await client.send(post + pause)
            client.half_close()
            await client.response()
            assert await client.ends() == "eof"
            assert served.log == []

    run(job(), loop)


# -- Concurrency and the cap -------------------------------------------------------------------------------------------


@EVENT_LOOPS
def test_over_the_concurrency_limit_is_a_503(loop: str) -> None:
    async def job() -> None:
        gate = Gate()
        async with Served(gate, limit_concurrency=3) as served:
            first, second = await served.connect(), await served.connect()
            await first.send(request("/slow"))
            await gate.inside.wait()
            assert (await second.ask(GET)).status == 200, "two connections are below three"
            third = await served.connect()
            response = await third.ask(GET)
            assert (response.status, response.body, response.says_close) == (503, b"Service Unavailable", True)
            assert response.all(b"content-type") == [b"text/plain; charset=utf-8"]
            assert response.all(b"retry-after") == [b"1"]
            assert await third.ends() == "eof"
            gate.go.set()
            assert (await first.response()).status == 200
            assert served.log == ["Exceeded concurrency limit."]
            assert served.state.total_requests == 3

    run(job(), loop)


def test_a_concurrency_limit_of_one_refuses_everything() -> None:
    async def job() -> None:
        async with Served(hello, limit_concurrency=1) as served:
            assert (await served.ask()).status == 503

    run(job())


@EVENT_LOOPS
def test_over_the_cap_the_connection_that_is_idle_for_longest_makes_room(loop: str) -> None:
    async def job() -> None:
        async with Served(hello, limit_connections=3, **NEVER) as served:
            clients = [await served.connect() for _ in range(3)]
            for client in (clients[1], clients[0], clients[2]):
                await client.ask(GET)
                await asyncio.sleep(0.01)
            new = await served.connect()
            assert await clients[1].ends() == "eof"
            for client in (clients[0], clients[2], new):
                assert (await client.ask(GET)).status == 200
            assert served.log == ["Exceeded the limit of 3 connections."]

    run(job(), loop)


@EVENT_LOOPS
def test_over_the_cap_with_all_busy_the_new_connection_is_a_503(loop: str) -> None:
    async def job() -> None:
        gate = Gate()
        async with Served(gate, limit_connections=1, **NEVER) as served:
            busy = await served.connect()
            await busy.send(request("/slow"))
            await gate.inside.wait()
            new = await served.connect()
            response = await new.response()
            assert (response.status, response.says_close, response.all(b"retry-after")) == (503, True, [b"1"])
            assert await new.ends() == "eof"
            gate.go.set()
            assert (await busy.response()).status == 200

    run(job(), loop)


@EVENT_LOOPS
def test_over_the_cap_connections_that_ask_for_nothing_make_room(loop: str) -> None:
    async def job() -> None:
        async with Served(limit_connections=2, **NEVER) as served:
            silent, younger = await served.connect(), await served.connect()
            new = await served.connect()
            assert await silent.ends() == "eof"
            assert (await new.ask(GET)).status == 200
            assert (await younger.ask(GET)).status == 200

    run(job(), loop)


def test_the_cap_follows_the_limit_on_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        monkeypatch.setattr("uvicorn.server.service.resource.getrlimit", lambda _: (500, 4096))
        async with Served(hello) as served:
            await served.ask()
            assert served.state.service is not None
            assert served.state.service.cap == 400

    run(job())


# -- Context variables -------------------------------------------------------------------------------------------------

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@EVENT_LOOPS
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("how", ["one after the other", "pipelined", "resumed"])
def test_what_a_request_sets_in_its_context_no_other_sees(how: str, reset: bool, loop: str) -> None:
    async def job() -> None:
        variable.set("outside")
        found: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            found.append(variable.get())
            variable.set(scope["path"])
            if how == "resumed":
                await until(lambda: served.connection._reading_paused or scope["method"] == "GET", "reading is paused")
            await echo(scope, receive, send)

        async with Served(app, reset_contextvars=reset) as served:
            client = await served.connect()
            if how == "pipelined":
                await client.send(request("/1") + request("/2") + request("/3"))
                for _ in range(3):
                    await client.response()
            elif how == "resumed":
                sending = asyncio.ensure_future(client.send(request("/1", method=b"POST", body=b"x" * 1_000_000)))
                await client.response()
                await sending
                await client.ask(request("/2"))
            else:
                await client.ask(request("/1"))
                await client.ask(request("/2"))
                await served.ask(request("/3"))
            assert set(found) == {"unset" if reset else "outside"}

    run(job(), loop)


# -- What is left ------------------------------------------------------------------------------------------------------


def living(*classes: type) -> int:
    return sum(isinstance(thing, classes) for thing in gc.get_objects())


async def life(served: Served, kind: str) -> None:
    client = await served.connect()
    if kind == "keep-alive":
        for _ in range(3):
            await client.ask(GET)
    elif kind == "pipelined":
        await client.send(GET * 5)
        for _ in range(5):
            await client.response()
    elif kind == "refused":
        await client.send(b"nonsense\r\n\r\n")
        await client.rest()
    elif kind == "failed":
        await client.ask(request("/fail"))
    elif kind == "abandoned":
        await client.send(request("/wait"))
        await until(lambda: served.state.tasks, "the request runs")
        client.reset()
    elif kind == "upload":
        await client.ask(request(method=b"POST", body=b"x" * 200_000))
    client.close()
    await until(lambda: not served.state.connections and not served.state.tasks, "all has ended")
    client.buffer = b""


@EVENT_LOOPS
@pytest.mark.parametrize("kind", ["silent", "keep-alive", "pipelined", "refused", "failed", "abandoned", "upload"])
def test_nothing_is_left_of_a_connection_and_nothing_waits_for_the_collector(kind: str, loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/fail":
            raise ValueError
        if scope["path"] == "/wait":
            await receive()
            await receive()
            return
        await hello(scope, receive, send)

    async def job() -> None:
        async with Served(app) as served:
            await life(served, kind)  # tables and caches fill
            served.protocols.clear()
            served.records.clear()
            gc.collect()
            before = living(HTTPConnection, RequestResponseCycle, asyncio.Task)
            gc.disable()
            try:
                for _ in range(3):
                    await life(served, kind)
                    served.protocols.clear()
                    served.records.clear()
                await asyncio.sleep(0.01)
                assert living(HTTPConnection, RequestResponseCycle, asyncio.Task) <= before
            finally:
                gc.enable()
            assert not served.state.service or not served.state.service._held

    run(job(), loop)
