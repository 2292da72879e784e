"""Flow control of one connection, both ways: who is too fast is held up, and memory stays bounded."""

from __future__ import annotations

import asyncio
import socket
from math import inf
from typing import Any

import pytest

from uvicorn.server.connection import HIGH_WATER
from uvicorn.server.ending import IDLE

from .serving import (
    EVENT_LOOPS,
    GET,
    NEVER,
    PARSERS,
    Gate,
    Served,
    body,
    echo,
    request,
    run,
    sends,
    start,
    until,
)

# -- Flow control: reading ---------------------------------------------------------------------------------------------


@EVENT_LOOPS
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_nobody_takes_is_not_read(chunked: bool, loop: str) -> None:
    size = 8_000_000

    async def job() -> None:
        gate = Gate(echo)
        async with Served(gate, **NEVER) as served:
            client = await served.connect()
            field = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size) if chunked else b"x" * size
            sending = asyncio.ensure_future(client.send(request("/slow", field, method=b"POST") + data))
            await gate.inside.wait()
            connection = served.connection
            await until(lambda: connection._reading_paused, "reading is paused")
            await asyncio.sleep(0.05)
            assert HIGH_WATER < connection.cycle.buffered <= HIGH_WATER + 300_000
            gate.go.set()
            assert len((await client.response()).body) == size
            await sending
            assert not connection._reading_paused
            assert (await client.ask(GET)).status == 200

    run(job(), loop)


@EVENT_LOOPS
def test_requests_wait_as_octets_and_a_bounded_number_of_them(loop: str) -> None:
    many = 30_000

    async def job() -> None:
        gate = Gate()
        async with Served(gate, **NEVER) as served:
            client = await served.connect()
            sending = asyncio.ensure_future(client.send(request("/slow") + GET * many))
            await gate.inside.wait()
            connection = served.connection
            await until(lambda: connection._reading_paused, "reading is paused")
            assert HIGH_WATER < len(connection._buffer) <= HIGH_WATER + 300_000
            assert len(served.state.tasks) == 1
            client.close()
            sending.cancel()
            gate.go.set()

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.parametrize("parser", PARSERS)
def test_pipelined_requests_are_answered_in_order(parser: str, loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        data = (await receive())["body"]
        await send(start())
        if scope["path"].endswith("3"):
            await asyncio.sleep(0.001)
        await send(body(scope["path"].encode() + data))

    async def job() -> None:
        async with Served(app, parser) as served:
            client = await served.connect()
            chunks = b"1\r\nc\r\n0\r\n\r\n"
            raw = b"".join(
                [request(f"/{n}"), request(f"/{n}", method=b"POST", body=b"abc")][n % 2]
                if n % 3
                else request(f"/{n}", b"Transfer-Encoding: chunked", method=b"POST") + chunks
                for n in range(300)
            )
            sending = asyncio.ensure_future(client.send(raw))
            for n in range(300):
                data = b"c" if n % 3 == 0 else b"abc" if n % 2 else b""
                assert (await client.response()).body == b"/%d" % n + data
            await sending
            assert served.connection.phase == IDLE

    run(job(), loop)


@EVENT_LOOPS
def test_a_refusal_stands_behind_the_answers_before_it_and_nothing_behind_it_is_read(loop: str) -> None:
    async def job() -> None:
        gate = Gate()
        async with Served(gate) as served:
            client = await served.connect()
            await client.send(request("/slow") + GET + b"nonsense\r\n\r\n" + GET)
            await gate.inside.wait()
            gate.go.set()
            assert [(await client.response()).status for _ in range(3)] == [200, 200, 400]
            assert await client.ends() == "eof"
            assert served.state.total_requests == 2

    run(job(), loop)


# -- Flow control: writing ---------------------------------------------------------------------------------------------


@EVENT_LOOPS
def test_send_waits_while_the_client_does_not_read(loop: str) -> None:
    async def job() -> None:
        sent: list[int] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            for number in range(150):
                await send(body(b"x" * 65536, True))
                sent.append(number)
            await send(body())

        async with Served(app, **NEVER) as served:
            client = await served.connect(receive_buffer=8192)
            await client.send(GET)
            connection = served.connection
            await until(lambda: connection.write_paused and connection._drain_waiters, "the application waits to send")
            held = len(sent)
            await asyncio.sleep(0.05)
            assert len(sent) == held < 150
            assert connection.deadline < inf
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
            assert len((await client.response()).body) == 150 * 65536
            assert not connection.write_paused

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.parametrize("what", ["one", "pipelined", "complete", "cut by its length"])
def test_a_client_that_reads_nothing_is_reset(what: str, loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"x" * 30_000_000, what == "one"))
        if what == "one":
            await send(body(b"x"))

    async def job() -> None:
        async with Served(app, **(NEVER | {"timeout_write": 0.2, "timeout_keep_alive": 0.1})) as served:
            client = await served.connect(receive_buffer=8192)
            await client.send(GET * 2 if what == "pipelined" else GET)
            await until(lambda: not served.state.connections, "the connection was dropped")
            await until(lambda: not served.state.tasks, "the application was let go")
            await client.rest()
            assert client.ended == "reset"
            assert any("read nothing in 0.2 s" in line for line in served.log)

    run(job(), loop)


@EVENT_LOOPS
def test_a_client_that_reads_slowly_gets_everything(loop: str) -> None:
    async def job() -> None:
        messages = [body(b"x" * 100_000, True) for _ in range(60)]
        async with Served(sends(start(), *messages, body()), **(NEVER | {"timeout_write": 0.8})) as served:
            client = await served.connect(receive_buffer=8192)
            await client.send(GET)
            await until(lambda: served.connection.write_paused, "the buffers are full")
            for _ in range(10):
                await asyncio.sleep(0.15)
                client.buffer += await served.loop.sock_recv(client.sock, 50_000)
            assert len((await client.response()).body) == 6_000_000

    run(job(), loop)


@EVENT_LOOPS
def test_an_application_that_waits_to_send_is_let_go_when_the_client_leaves(loop: str) -> None:
    async def job() -> None:
        done: list[bool] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            for _ in range(150):
                await send(body(b"x" * 65536, True))
            await send(body())
            done.append(True)

        async with Served(app, **NEVER) as served:
            client = await served.connect(receive_buffer=8192)
            await client.send(GET)
            await until(lambda: served.connection._drain_waiters, "the application waits to send")
            client.reset()
            await until(lambda: done, "the application has run to its end")
            assert served.log == []
            assert served.state.total_requests == 0

    run(job(), loop)


@EVENT_LOOPS
def test_what_is_sent_to_a_client_that_has_just_gone_is_dropped_in_silence(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def job() -> None:
        done: list[bool] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            client.reset()
            await send(start())
            for _ in range(20):  # several in one turn of the loop, which has not told us yet
                await send(body(b"x" * 40_000, True))
            await send(body())
            done.append(True)

        async with Served(app, **NEVER) as served:
            client = await served.connect()
            await client.send(GET)
            await until(lambda: done, "the application has run to its end")
            assert served.log == []

    run(job(), loop)
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_a_cancelled_send_leaves_nothing_behind() -> None:
    async def job() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            await send(body(b"x" * 10_000_000, True))
            for _ in range(10):
                waiting = asyncio.ensure_future(send(body(b"y", True)))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.sleep(0)
            assert not served.connection._drain_waiters
            await send(body(b"end"))

        async with Served(app, **NEVER) as served:
            client = await served.connect(receive_buffer=8192)
            assert (await client.ask(GET)).body == b"x" * 10_000_000 + b"end"
            assert served.log == []

    run(job())
