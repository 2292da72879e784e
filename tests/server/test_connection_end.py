"""The end of one connection: half-close, what is read and thrown away before it, and the drain."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from uvicorn.server.ending import BUSY, DISCARD, FRESH, HEAD, IDLE, LINGER

from .serving import (
    EVENT_LOOPS,
    GET,
    LAST,
    NEVER,
    PARSERS,
    POST5,
    Gate,
    Served,
    body,
    early,
    echo,
    hello,
    is_refusal,
    request,
    run,
    sends,
    start,
    stop,
    until,
)


@pytest.fixture
def endless_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lingers does so for longer than any test waits."""
    monkeypatch.setattr("uvicorn.server.ending._LINGER_PAUSE", 600.0)
    monkeypatch.setattr("uvicorn.server.ending._LINGER_TOTAL", 600.0)


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
