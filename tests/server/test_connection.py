"""One connection from inside: phases, deadlines, flow control both ways, drain, the end, and nothing left behind it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import socket
import time
from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from uvicorn.server.connection import HIGH_WATER, HTTPConnection
from uvicorn.server.cycle import RequestResponseCycle
from uvicorn.server.ending import BUSY, CLOSED, DISCARD, FRESH, HEAD, IDLE, LINGER
from uvicorn.server.httptools_protocol import HttpToolsProtocol
from uvicorn.server.service import Service

from .serving import (
    DEADLINE,
    GET,
    LAST,
    LOOPS,
    PARSERS,
    App,
    Client,
    Served,
    body,
    echo,
    hello,
    request,
    run,
    sends,
    start,
    until,
)

EVENT_LOOPS = pytest.mark.parametrize("loop", list(LOOPS))
POST5 = request("/", b"Content-Length: 5", method=b"POST")
NEVER = {"timeout_keep_alive": 60, "timeout_request_header": 60, "timeout_request_body": 60, "timeout_write": 60}


class Gate:
    """An application whose /slow waits until it is let go."""

    def __init__(self, app: App = hello) -> None:
        self.app = app
        self.inside = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            self.inside.set()
            await self.go.wait()
        await self.app(scope, receive, send)


async def left_alone(client: Client, seconds: float) -> None:
    """Nothing arrives, and the connection stays, for this long."""
    with pytest.raises(TimeoutError):
        await client.rest(within=seconds)


@pytest.fixture
def endless_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lingers does so for longer than any test waits."""
    monkeypatch.setattr("uvicorn.server.ending._LINGER_PAUSE", 600.0)
    monkeypatch.setattr("uvicorn.server.ending._LINGER_TOTAL", 600.0)


def is_refusal(data: bytes, status: int) -> bool:
    return data.startswith(b"HTTP/1.1 %d " % status) and b"\r\nconnection: close\r\n" in data


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


# -- Half-close --------------------------------------------------------------------------------------------------------


@EVENT_LOOPS
@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_that_was_asked_before_a_half_close_is_answered(count: int, loop: str) -> None:
    async def job() -> None:
        gate = Gate()
        async with Served(gate) as served:
            client = await served.connect()
            await client.send(request("/slow") * count)
            client.half_close()
            await gate.inside.wait()
            await until(lambda: served.connection.half_closed, "the half-close was noticed")
            gate.go.set()
            answers = [await client.response() for _ in range(count)]
            assert [answer.says_close for answer in answers] == [False] * (count - 1) + [True]
            assert await client.ends() == "eof"

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.parametrize("before", [b"", request("/slow")], ids=["alone", "behind another"])
@pytest.mark.parametrize(
    "part",
    [
        b"GET / HTTP/1.1\r\nHos",
        POST5 + b"123",
        request("/", b"Transfer-Encoding: chunked", method=b"POST") + b"3\r\nabc\r\n",
        request("/", b"Transfer-Encoding: chunked", method=b"POST"),
    ],
)
def test_a_half_close_in_the_middle_of_a_request_is_refused_at_once(part: bytes, before: bytes, loop: str) -> None:
    async def job() -> None:
        gate = Gate(echo)
        async with Served(gate, **NEVER) as served:
            client = await served.connect()
            await client.send(before + part)
            await until(lambda: served.connection.phase in (HEAD, BUSY), "the request has arrived")
            client.half_close()
            if before:
                await until(lambda: served.connection.half_closed, "the half-close was noticed")
                gate.go.set()
                assert (await client.response()).status == 200
            assert is_refusal(await client.rest(), 400)
            assert client.ended == "eof"

    run(job(), loop)


@EVENT_LOOPS
def test_an_application_that_watches_is_told_of_a_half_close(loop: str) -> None:
    async def job() -> None:
        found: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            found.append((await receive())["type"])
            found.append((await receive())["type"])
            await hello(scope, receive, send)

        async with Served(app) as served:
            client = await served.connect()
            await client.send(GET)
            client.half_close()
            assert (await client.response()).body == b"hello"
            assert found == ["http.disconnect"] * 2

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.parametrize("started", [False, True])
def test_an_application_that_stops_because_it_was_told_is_not_blamed(started: bool, loop: str) -> None:
    async def job() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            if started:
                await send(start())
                await send(body(b"begun", True))
            assert (await receive())["type"] == "http.disconnect"

        async with Served(app, **NEVER) as served:
            client = await served.connect()
            await client.send(GET)
            client.half_close()
            data = await client.rest()
            assert data.startswith(b"HTTP/1.1 200" if started else b"HTTP/1.1 500")
            assert not data.endswith(b"0\r\n\r\n")
            assert served.log == []

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.parametrize("parser", PARSERS)
def test_credentials_are_known_again_on_their_connection_and_forgotten_with_it(loop: str, parser: str) -> None:
    packet = request("/", b"Cookie: session=secret", b"Authorization: Bearer secret")

    async def job() -> None:
        async with Served(hello, parser) as served:
            client, other = await served.connect(), await served.connect()
            for each in (client, other, client):
                assert (await each.ask(packet)).body == b"hello"
            heads = served.state.service.heads  # type: ignore[union-attr]
            assert not heads.remembered
            known = list(heads.confided.values())
            assert [raw for raw, _ in known] == [packet] * 2
            assert (await client.ask(packet)).body == b"hello"
            assert list(heads.confided.values()) == known
            client.close()
            await until(lambda: len(heads.confided) == 1, "it is forgotten with its connection")
            other.close()
            await until(lambda: not heads.confided, "so is the other")

    run(job(), loop)


class Done(asyncio.Future[None]):
    """What stands for a task that is over when it is made."""

    def set_name(self, name: object) -> None:
        pass


def at_once(loop: asyncio.AbstractEventLoop, work: Any, **_: Any) -> Done:
    """A task factory that runs what never waits to its end, as eager ones do (Python 3.12)."""
    try:
        work.send(None)
    except StopIteration:
        done = Done(loop=loop)
        done.set_result(None)
        return done
    raise AssertionError("it waits")


@pytest.mark.parametrize(
    "packet", [GET, request("/", method=b"POST", body=b"unread"), b"\r\n" + GET], ids=["get", "post", "line before"]
)
@pytest.mark.parametrize("factory", [at_once, getattr(asyncio, "eager_task_factory", None)])
def test_thousands_of_requests_in_a_packet_are_answered_by_eager_tasks(packet: bytes, factory: Any) -> None:
    """One after the other: each inside the one before would be too deep."""
    if factory is None:
        pytest.skip("Python before 3.12 has no eager tasks")
    count = 3000

    async def job() -> None:
        async with Served(hello, **NEVER) as served:
            client = await served.connect()
            asyncio.get_running_loop().set_task_factory(factory)
            try:
                served.connection.data_received(packet * count)
            finally:
                asyncio.get_running_loop().set_task_factory(None)
            for _ in range(count):
                assert (await client.response()).body == b"hello"
            assert served.connection.phase == IDLE
            assert served.state.total_requests == count
            client.close()

    run(job(), within=60)


# -- Discard and linger ------------------------------------------------------------------------------------------------


async def early(scope: Any, receive: Any, send: Any) -> None:
    """Answer without a look at the body."""
    await send(start(200, (b"content-length", b"5")))
    await send(body(b"early"))


@EVENT_LOOPS
@pytest.mark.parametrize("parser", PARSERS)
def test_the_rest_of_a_small_body_is_skipped_for_the_sake_of_the_connection(parser: str, loop: str) -> None:
    async def job() -> None:
        async with Served(early, parser) as served:
            client = await served.connect()
            for head, rest in (
                (POST5 + b"12", b"345"),
                (request("/", b"Transfer-Encoding: chunked", method=b"POST") + b"3\r\na", b"bc\r\n0\r\nX: y\r\n\r\n"),
                (
                    request("/", b"Content-Length: 60000", method=b"POST"),
                    b"GET / HTTP/1.1\r\n\r\n" * 3000 + b"x" * 6000,
                ),
            ):
                response = await client.ask(head)
                assert (response.body, response.says_close) == (b"early", False)
                assert served.connection.phase == DISCARD
                await client.send(rest + GET)
                assert (await client.response()).body == b"early"
                assert served.connection.phase == IDLE
            assert served.state.total_requests == 6

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.parametrize("how", ["length", "chunked"])
def test_a_large_body_that_nobody_wants_ends_the_connection_but_not_the_answer(how: str, loop: str) -> None:
    async def job() -> None:
        async with Served(early) as served:
            client = await served.connect()
            if how == "length":
                response = await client.ask(request("/", b"Content-Length: 1000000", method=b"POST"))
                assert response.says_close
                assert served.connection.phase == LINGER
            else:
                await client.ask(request("/", b"Transfer-Encoding: chunked", method=b"POST") + b"fffff\r\n")
                assert served.connection.phase == DISCARD
            for _ in range(10):
                await client.send(b"x" * 10_000)
            if how == "chunked":
                await until(lambda: served.connection.phase == LINGER, "enough was skipped")
            assert await client.ends() == "eof"

    run(job(), loop)


def test_a_bad_chunk_behind_an_answer_gets_no_second_one() -> None:
    async def job() -> None:
        async with Served(early) as served:
            client = await served.connect()
            await client.ask(request("/", b"Transfer-Encoding: chunked", method=b"POST") + b"5\r\nab")
            await client.send(b"cdeXX" + GET)
            assert await client.ends() == "eof"
            assert served.state.total_requests == 1

    run(job())


def test_a_body_that_stops_arriving_behind_its_answer_ends_by_the_keep_alive_time() -> None:
    async def job() -> None:
        async with Served(early, **(NEVER | {"timeout_keep_alive": 0.1})) as served:
            client = await served.connect()
            await client.ask(POST5)
            assert await client.ends() == "eof"

    run(job())


@pytest.mark.usefixtures("endless_linger")
@EVENT_LOOPS
def test_an_answer_survives_what_the_client_goes_on_sending(loop: str) -> None:
    """A socket that is closed with octets unread sends a reset, which can take the answer with it."""

    async def job() -> None:
        async with Served(sends(start(403, (b"connection", b"close")), body(b"no" * 100))) as served:
            client = await served.connect()
            await client.send(request("/", b"Content-Length: 300000", method=b"POST"))
            for _ in range(30):
                await client.send(b"x" * 10_000)
            response = await client.response()
            assert (response.status, response.body) == (403, b"no" * 100)
            assert await client.ends() == "eof"
            client.close()
            await until(lambda: not served.state.connections, "lingering ends when the client closes")

    run(job(), loop)


@EVENT_LOOPS
def test_lingering_ends_though_the_client_never_closes(loop: str) -> None:
    async def job() -> None:
        async with Served(hello) as served:
            client = await served.connect()
            await client.send(b"nonsense\r\n\r\n")
            assert is_refusal(await client.rest(), 400)
            assert served.connection.phase == LINGER
            await until(lambda: not served.state.connections, "lingering has ended")

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.usefixtures("endless_linger")
def test_who_goes_on_sending_at_full_speed_is_cut_off(loop: str) -> None:
    async def main() -> None:
        async with Served(**NEVER) as served:
            client = await served.connect()
            await client.send(b"nonsense\r\n\r\n")
            assert (await client.response()).status == 400
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 128 << 20:
                    await client.send(b"x" * 65536)
                    sent += 65536
            # What the kernels hold on top is no more than some megabytes.
            assert 16 << 20 <= sent < 64 << 20
            await until(lambda: not served.state.connections, "the connection has ended")

    run(main(), loop, 60)


@EVENT_LOOPS
@pytest.mark.usefixtures("endless_linger")
def test_who_has_the_rest_on_its_way_gets_the_answer_and_no_reset(loop: str) -> None:
    """Four megabytes, all sent before the answer is looked at."""

    async def main() -> None:
        async with Served(**NEVER) as served:
            client = await served.connect()
            await client.send(request("/", b"Transfer-Encoding: chunked", method=b"POST") + b"nonsense\r\n")
            for _ in range(64):
                await client.send(b"x" * 65536)
            assert (await client.response()).status == 400
            assert await client.ends() == "eof"

    run(main(), loop, 60)


@pytest.mark.usefixtures("endless_linger")
def test_who_asked_for_the_end_is_not_lingered_for() -> None:
    async def job() -> None:
        async with Served(hello) as served:
            client = await served.connect()
            await client.ask(LAST)
            await client.ends()
            await until(lambda: not served.state.connections, "the connection is gone")

    run(job())


# -- Drain -------------------------------------------------------------------------------------------------------------


def stop(served: Served) -> None:
    served.state.draining = "stop"
    for connection in list(served.state.connections):
        connection.shutdown()


def gated(inside: asyncio.Event, go: asyncio.Event, *, started: bool) -> Any:
    """An application that tells that it runs and waits; `started`: after the head of its answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if started:
            await send(start(200, (b"content-length", b"5")))
            await asyncio.sleep(0.01)
        inside.set()
        await go.wait()
        if not started:
            await send(start(200, (b"content-length", b"5")))
        await send(body(b"hello"))

    return app


def retire(served: Served) -> None:
    served.state.draining = "retire"
    for connection in list(served.state.connections):
        connection.retire()


@pytest.mark.usefixtures("endless_linger")
@EVENT_LOOPS
def test_a_stop_ends_idle_connections_at_once(loop: str) -> None:
    async def job() -> None:
        async with Served(hello, **NEVER) as served:
            client = await served.connect()
            await client.ask(GET)
            stop(served)
            assert await client.ends() == "eof"
            await until(lambda: not served.state.connections, "the connection is gone")

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.parametrize("end", [stop, retire])
@pytest.mark.parametrize("started", [False, True])
def test_the_answer_under_way_and_what_has_come_behind_it_are_finished(
    started: bool, end: Callable[[Served], None], loop: str
) -> None:
    async def job() -> None:
        inside, go = asyncio.Event(), asyncio.Event()
        app = gated(inside, go, started=started)
        async with Served(app, **NEVER) as served:
            client = await served.connect()
            await client.send(GET + GET + GET + GET[:-2])  # the last of them has not come
            await inside.wait()
            end(served)
            await asyncio.sleep(0.05)
            go.set()
            assert [(await client.response()).says_close for _ in range(3)] == [False, False, True]
            assert await client.ends() == "eof"
            assert served.state.total_requests == 3

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.parametrize("started", [False, True])
def test_when_time_is_over_only_the_answer_under_way_is_finished(started: bool, loop: str) -> None:
    async def job() -> None:
        inside, go = asyncio.Event(), asyncio.Event()
        app = gated(inside, go, started=started)
        async with Served(app, **NEVER) as served:
            client = await served.connect()
            await client.send(GET + GET)
            await inside.wait()
            stop(served)
            served.connection.hurry()
            go.set()
            response = await client.response()
            assert (response.body, response.says_close) == (b"hello", not started)
            assert await client.ends() == "eof"
            assert served.state.total_requests == 1

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.parametrize("sent", [0, 5, 20])
def test_a_stop_gives_those_who_had_connected_a_moment(sent: int, loop: str) -> None:
    async def job() -> None:
        async with Served(hello, **NEVER) as served:
            client = await served.connect()
            await client.send(GET[:sent])
            await until(lambda: served.connection.phase == (HEAD if sent else FRESH), "what was sent has arrived")
            before = time.monotonic()
            stop(served)
            assert before + 1 <= served.connection.deadline <= time.monotonic() + 1
            silent = await served.connect()
            await client.send(GET[sent:])
            response = await client.response()
            assert (response.body, response.says_close) == (b"hello", True)
            assert await silent.ends() == "eof"

    run(job(), loop)


@EVENT_LOOPS
def test_a_stop_in_the_middle_of_an_upload_that_was_answered_keeps_the_answer(loop: str) -> None:
    async def job() -> None:
        async with Served(early, **NEVER) as served:
            client = await served.connect()
            await client.send(request("/", b"Content-Length: 60000", method=b"POST"))
            await until(lambda: served.connection.phase == DISCARD, "the answer was given")
            stop(served)
            for _ in range(6):
                await client.send(b"x" * 10_000)
                await asyncio.sleep(0.01)
            assert (await client.response()).body == b"early"
            assert await client.ends() == "eof"

    run(job(), loop)


@EVENT_LOOPS
def test_retiring_leaves_idle_connections_a_last_request(loop: str) -> None:
    async def job() -> None:
        async with Served(hello, **(NEVER | {"timeout_keep_alive": 1})) as served:
            asks, silent = await served.connect(), await served.connect()
            await asks.ask(GET)
            await silent.ask(GET)
            retire(served)
            response = await asks.ask(GET)
            assert (response.body, response.says_close) == (b"hello", True)
            assert await asks.ends() == "eof"
            assert await silent.ends() == "eof"

    run(job(), loop)


def test_retiring_lets_an_answer_that_said_keep_alive_be_followed_by_one_that_does_not() -> None:
    async def job() -> None:
        gate = Gate()
        async with Served(gate, **NEVER) as served:
            client = await served.connect()
            await client.send(request("/slow"))
            await gate.inside.wait()
            retire(served)
            gate.go.set()
            assert (await client.response()).says_close
            assert await client.ends() == "eof"

    run(job())


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


class Finished(asyncio.Future[None]):
    """What stands for a task that ended at its first step."""

    def set_name(self, name: object) -> None:
        assert str(name)


def eager(loop: Any, coroutine: Any, *, context: Any = None, **_: Any) -> Any:
    """A task factory that runs a request's first step at once, as `asyncio.eager_task_factory` of Python 3.12 does."""
    if coroutine.__qualname__ != "RequestResponseCycle.run":
        return asyncio.Task(coroutine, loop=loop, context=context)
    finished = Finished(loop=loop)
    with pytest.raises(StopIteration):
        (context or contextvars.copy_context()).run(coroutine.send, None)
    finished.set_result(None)
    return finished


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
