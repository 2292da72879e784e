"""One exchange as the application sees it: legal messages, framing, failures, and what `receive` gives when."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from uvicorn.server.cycle import AWAITING_START, COMPLETE, HEAD_HELD

from .serving import (
    DEADLINE,
    GET,
    LAST,
    LOOPS,
    PARSERS,
    App,
    Message,
    Response,
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

LOOP_NAMES = list(LOOPS)
EVENT_LOOPS = pytest.mark.parametrize("loop", LOOP_NAMES)

TOO_LONG = "Response content longer than Content-Length"
TOO_SHORT = "Response content shorter than Content-Length"


def note(errors: list[BaseException]) -> Any:
    """Turn an application into one that notes what its `send` or `receive` raises, and lets it go on."""

    def wrap(app: App) -> App:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except BaseException as error:
                errors.append(error)
                raise

        return wrapped

    return wrap


# -- Messages out of order ---------------------------------------------------------------------------------------------

NOT_START = "Expected ASGI message 'http.response.start', but got '%s'."
NOT_BODY = "Expected ASGI message 'http.response.body', but got '%s'."
AFTER = "Unexpected ASGI message '%s' sent, after response already completed."
L5 = (b"content-length", b"5")

MISTAKES: list[tuple[list[Message], str, bytes | None]] = [
    # messages, text, what the client has got as a body; None: a clean 500
    ([body(b"x")], NOT_START % "http.response.body", None),
    ([{"type": "http.response.trailers"}], NOT_START % "http.response.trailers", None),
    ([{"type": "websocket.accept"}], NOT_START % "websocket.accept", None),
    ([start(), start()], NOT_BODY % "http.response.start", None),
    ([start(200, L5), {"type": "http.response.push"}], NOT_BODY % "http.response.push", None),
    ([start(), body(b"x", True), start()], NOT_BODY % "http.response.start", b"x"),
    ([start(), body(b"x"), body(b"y")], AFTER % "http.response.body", b"x"),
    ([start(), body(b"x"), start()], AFTER % "http.response.start", b"x"),
    ([start(200, L5), body(b"123456")], TOO_LONG, None),
    ([start(200, L5), body(b"123", True), body(b"456")], TOO_LONG, b"123"),
    ([start(200, L5), body(b"123", True), body(b"456", True)], TOO_LONG, b"123"),
    ([start(200, L5), body(b"1234")], TOO_SHORT, None),
    ([start(200, L5), body()], TOO_SHORT, None),
    ([start(200, L5), body(b"123", True), body(b"4")], TOO_SHORT, b"123"),
    ([start(200, L5), body(b"123", True), body()], TOO_SHORT, b"123"),
    ([start(200, (b"content-length", b"0")), body(b"x")], TOO_LONG, None),
    ([start(200, (b"a b", b"c"))], "Invalid HTTP header name.", None),
    ([start(200, (b"a", b"b\r\nc: d"))], "Invalid HTTP header value.", None),
    ([start(200, L5, (b"content-length", b"6"))], "Invalid HTTP header value.", None),
    ([start(99)], "99", None),
    ([start(103)], "103", None),
    ([start(1000)], "1000", None),
    ([start("200")], "integer", None),
    ([start(200, ("a", "b"))], "bytes", None),
    ([start(), body("text")], "bytes, but got str", None),
    ([start(), body(b"x", True), body("text")], "bytes", b"x"),
]


@pytest.mark.parametrize("gap", [False, True], ids=["at once", "later"])
def test_a_mistake_raises_in_the_application_and_costs_one_answer_and_no_more(gap: bool) -> None:
    async def job() -> None:
        errors: list[BaseException] = []
        messages: list[Message] = []

        @note(errors)
        async def app(scope: Any, receive: Any, send: Any) -> None:
            for message in messages:
                await send(message)
                if gap:
                    await asyncio.sleep(0.001)

        async with Served(app) as served:
            for mistake, text, written in MISTAKES:
                messages[:], errors[:], served.log[:] = mistake, [], []
                client = await served.connect()
                await client.send(GET)
                data = await client.rest()
                assert len(errors) == 1, mistake
                assert isinstance(errors[0], RuntimeError | TypeError | ValueError), errors
                assert text in str(errors[0]), (mistake, errors)
                if written is None and (not gap or len(mistake) == 1):
                    assert data.startswith(b"HTTP/1.1 500 Internal Server Error\r\n"), (mistake, data)
                    assert data.endswith(b"content-length: 21\r\nconnection: close\r\n\r\nInternal Server Error")
                else:
                    assert data.startswith(b"HTTP/1.1 200 OK\r\n"), (mistake, data)
                    assert data.count(b"HTTP/1.1") == 1
                    head, _, rest = data.partition(b"\r\n\r\n")
                    assert b"content-length" not in head or len(rest) < 5 or mistake[1].get("more_body") is False, data
                    if b"chunked" in head and len(mistake) > 2 and mistake[1].get("more_body"):
                        assert not rest.endswith(b"0\r\n\r\n"), "a cut body must not look whole"
                assert served.log == ["Exception in ASGI application\n"], mistake
                client.close()

    run(job())


@pytest.mark.parametrize(
    "app",
    [sends({"kind": "http.response.start"}), sends({"type": "http.response.start"}), sends({}), sends(None)],  # type: ignore[list-item,typeddict-item]
)
def test_a_message_that_lacks_what_it_needs_is_a_clean_500(app: App) -> None:
    async def job() -> None:
        async with Served(app) as served:
            response = await served.ask()
            assert (response.status, response.body) == (500, b"Internal Server Error")

    run(job())


# -- Framing -----------------------------------------------------------------------------------------------------------

PIECES: dict[str, list[Message]] = {
    "empty": [body()],
    "one": [body(b"hello")],
    "several": [body(b"he", True), body(b"", True), body(b"llo")],
    "ended by an empty one": [body(b"hello", True), body()],
    "bytearray and memoryview": [body(bytearray(b"he"), True), body(memoryview(b"llo"))],
}
FRAMINGS: dict[str, list[tuple[bytes, bytes]]] = {
    "none": [],
    "length": [(b"content-length", b"%d")],
    "chunked": [(b"transfer-encoding", b"chunked")],
    "both": [(b"transfer-encoding", b"chunked"), (b"content-length", b"%d")],
}


def expected(method: str, status: int, version: str, declared: str, pieces: str) -> tuple[str, bytes, bool]:
    """Framing on the wire, body, and whether the connection says close, of an HTTP/1.x keep-alive request."""
    content = b"" if pieces == "empty" else b"hello"
    if method == "HEAD" or status in (204, 304):
        framing = "length" if declared == "length" and status != 204 else "none"
        return framing, b"", False
    if declared == "length" or pieces in ("empty", "one"):
        return "length", content, False
    return ("chunked", content, False) if version == "1.1" else ("close", content, True)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("parser", PARSERS)
def test_every_framing(parser: str, version: str) -> None:
    messages: list[Message] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async def job() -> None:
        async with Served(app, parser, access_log=False) as served:
            client = await served.connect()
            for method, status, declared, pieces in itertools.product(
                ("GET", "HEAD", "POST", "OPTIONS"), (200, 204, 205, 299, 304, 404, 599), FRAMINGS, PIECES
            ):
                content = b"" if pieces == "empty" else b"hello"
                headers = [(n, v % len(content) if b"%d" in v else v) for n, v in FRAMINGS[declared]]
                messages[:] = [start(status, *headers), *PIECES[pieces]]
                await client.send(
                    request("/", b"Connection: keep-alive", method=method.encode(), version=version.encode())
                )
                response = await client.response(method.encode())
                which = (method, status, version, declared, pieces, response.raw)
                framing, data, close = expected(method, status, version, declared, pieces)
                assert (response.status, response.framing, response.body) == (status, framing, data), which
                assert response.says_close is close, which
                if version == "1.0" and not close:
                    assert response.all(b"connection") == [b"keep-alive"], which
                if close:
                    assert client.ended == "eof", which
                    client = await served.connect()
            assert served.log == []

    run(job())


@EVENT_LOOPS
def test_large_pieces_arrive_whole(loop: str) -> None:
    sizes = [32767, 32768, 32769, 65535, 65536, 65537, 1_000_000]
    data = bytes(range(256)) * 4000

    async def job() -> None:
        for size, more, declared in itertools.product(sizes, (False, True), (False, True)):
            headers = [(b"content-length", b"%d" % size)] if declared else []
            messages = [body(data[:size], True), body()] if more else [body(data[:size])]
            served = Served(sends(start(200, *headers), *messages))
            async with served:
                response = await served.ask()
                assert response.body == data[:size]

    run(job(), loop)


def test_a_bytearray_may_change_once_it_was_sent() -> None:
    buffer = bytearray(b"x" * 3_000_000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, (b"content-length", b"3000000")))
        await send(body(buffer))
        buffer[:] = b"y" * 3_000_000

    async def job() -> None:
        async with Served(app) as served:
            assert set((await served.ask()).body) == set(b"x")

    run(job())


def test_headers_begin_with_the_defaults_which_the_application_may_replace() -> None:
    async def job() -> None:
        async with Served(sends(start(200, (b"X-A", b"1"), (b"x-a", b"2")), body())) as served:
            response = await served.ask()
            assert [name for name, _ in response.headers] == [b"date", b"server", b"x-a", b"x-a", b"content-length"]
        async with Served(sends(start(200, (b"Server", b"mine"), (b"DATE", b"today")), body())) as served:
            response = await served.ask()
            assert response.headers == [(b"server", b"mine"), (b"date", b"today"), (b"content-length", b"0")]
        async with Served(hello, date_header=False, server_header=False, headers=[("X", "y")]) as served:
            assert (await served.ask()).headers == [(b"x", b"y"), (b"content-length", b"5")]

    run(job())


# -- The held head -----------------------------------------------------------------------------------------------------


@EVENT_LOOPS
def test_head_and_body_of_one_turn_are_one_write(loop: str) -> None:
    writes: list[bytes] = []

    async def job() -> None:
        async with Served(hello) as served:
            client = await served.connect()
            transport = served.connection.transport
            served.connection.transport = Spy(transport, writes)
            await client.ask(GET)
            assert len(writes) == 1
            assert writes[0].endswith(b"\r\n\r\nhello")

    run(job(), loop)


class Spy:
    """A transport that notes what is written to it."""

    def __init__(self, transport: Any, writes: list[bytes]) -> None:
        self.transport = transport
        self.writes = writes

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))
        self.transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


@EVENT_LOOPS
def test_a_head_does_not_wait_for_its_body_longer_than_the_turn(loop: str) -> None:
    go: list[asyncio.Event] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        go.append(asyncio.Event())
        await send(start(200, (b"content-length", b"5")))
        await go[0].wait()
        await send(body(b"hello"))

    async def job() -> None:
        async with Served(app) as served:
            client = await served.connect()
            await client.send(GET)
            while b"\r\n\r\n" not in client.buffer:
                assert await client.read_more()
            assert served.connection.cycle.phase == 2
            go[0].set()
            assert (await client.response()).body == b"hello"

    run(job(), loop)


@EVENT_LOOPS
def test_an_application_that_fails_behind_its_start_still_answers_500(loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, (b"content-length", b"5"), (b"set-cookie", b"secret")))
        assert served.connection.cycle.phase == HEAD_HELD
        raise ValueError("behind the start")

    async def job() -> None:
        nonlocal served
        async with served:
            client = await served.connect()
            response = await client.ask(GET)
            assert (response.status, response.all(b"set-cookie")) == (500, [])
            assert await client.ends() == "eof"

    served = Served(app)
    run(job(), loop)


# -- Failures ----------------------------------------------------------------------------------------------------------


class Odd(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("no text")


FAILURES: list[Any] = [ValueError("x"), KeyError("type"), asyncio.CancelledError(), SystemExit(4), KeyboardInterrupt()]
FAILURES += [
    StopAsyncIteration(),
    TimeoutError(),
    MemoryError(),
    BaseExceptionGroup("g", [SystemExit(1)]),
    ConnectionError(),
]


def raises(error: BaseException, when: str) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/last":
            return await hello(scope, receive, send)
        if when == "later":
            await asyncio.sleep(0)
        if when in ("started", "finished"):
            await send(start(200))
            await send(body(b"x", when == "started"))
        raise error

    return app


@EVENT_LOOPS
@pytest.mark.parametrize("when", ["at once", "later"])
def test_every_exception_before_the_start_is_a_500_and_the_server_lives(when: str, loop: str) -> None:
    async def job() -> None:
        for error in FAILURES:
            async with Served(raises(error, when)) as served:
                client = await served.connect()
                response = await client.ask(GET)
                assert (response.status, response.body, response.says_close) == (500, b"Internal Server Error", True)
                assert response.all(b"content-type") == [b"text/plain; charset=utf-8"]
                assert await client.ends() == "eof"
                assert served.log == ["Exception in ASGI application\n"]
                assert served.records[0].exc_info
                assert served.records[0].exc_info[1] is error
                assert served.state.total_requests == 1
                assert (await served.ask(LAST)).status == 200

    run(job(), loop)


def test_an_exception_in_the_middle_of_a_body_cuts_the_answer() -> None:
    async def job() -> None:
        for error in FAILURES:
            async with Served(raises(error, "started")) as served:
                client = await served.connect()
                await client.send(GET)
                data = await client.rest()
                assert data.endswith(b"\r\n\r\n1\r\nx\r\n"), "no last chunk"
                assert client.ended == "eof"
                client = await served.connect()
                await client.send(request(version=b"1.0"))
                await client.rest()
                assert client.ended == "reset", "where only the end tells, a clean end would be a lie"

    run(job())


def test_an_exception_behind_a_whole_answer_ends_the_connection_after_it() -> None:
    async def job() -> None:
        for error in FAILURES[:4]:
            async with Served(raises(error, "finished")) as served:
                client = await served.connect()
                await client.send(GET)
                assert (await client.response()).body == b"x"
                assert await client.ends() == "eof"
                assert served.log == ["Exception in ASGI application\n"]

    run(job())


def test_a_request_that_waits_behind_a_failed_answer_is_answered_and_told_to_close() -> None:
    async def job() -> None:
        async with Served(raises(ValueError(), "finished")) as served:
            client = await served.connect()
            await client.send(GET + request("/last") + request("/last"))
            assert (await client.response()).body == b"x"
            response = await client.response()
            assert (response.body, response.says_close) == (b"hello", True)
            assert await client.ends() in ("eof", "reset")

    run(job())


@pytest.mark.parametrize(
    ("app", "line", "status"),
    [
        (sends(), "ASGI callable returned without starting response.", 500),
        (sends(start()), "ASGI callable returned without completing response.", 500),
        (sends(start(), body(b"x", True)), "ASGI callable returned without completing response.", 200),
    ],
)
def test_an_application_that_returns_too_early(app: App, line: str, status: int) -> None:
    async def job() -> None:
        async with Served(app) as served:
            client = await served.connect()
            await client.send(GET)
            data = await client.rest()
            assert data.startswith(b"HTTP/1.1 %d " % status)
            assert not data.endswith(b"0\r\n\r\n")
            assert served.log == [line]

    run(job())


@pytest.mark.parametrize("result", [1, "x", False, b""])
def test_an_application_that_returns_something_loses_the_connection_but_not_the_answer(result: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> Any:
        await hello(scope, receive, send)
        return result

    async def early(scope: Any, receive: Any, send: Any) -> Any:
        return result

    async def job() -> None:
        async with Served(app) as served:
            client = await served.connect()
            assert (await client.ask(GET)).body == b"hello"
            assert await client.ends() == "eof"
            assert served.log == [f"ASGI callable should return None, but returned '{result}'."]
        async with Served(early) as served:
            assert (await served.ask(GET)).status == 500

    run(job())


@EVENT_LOOPS
def test_a_cancelled_task_answers_500_or_is_cut(loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/started":
            await send(start())
            await send(body(b"x", True))
        await asyncio.Event().wait()

    async def job() -> None:
        async with Served(app) as served:
            for path in ("/", "/started"):
                client = await served.connect()
                await client.send(request(path))
                await until(lambda: served.state.tasks, "the request runs")
                if path == "/started":
                    await client.read_more()
                await asyncio.sleep(0)
                for task in list(served.state.tasks):
                    task.cancel()
                data = await client.rest()
                if path == "/":
                    assert data.startswith(b"HTTP/1.1 500 ")
                else:
                    assert data.startswith(b"HTTP/1.1 200 ")
                    assert not data.endswith(b"0\r\n\r\n")

    run(job(), loop)


def test_a_logger_that_fails_costs_no_connection(capsys: pytest.CaptureFixture[str]) -> None:
    """`logging` prints what goes wrong in its handlers; an exception without a text is such a thing."""

    async def job() -> None:
        async with Served(raises(Odd(), "at once")) as served:
            assert (await served.ask()).status == 500

    run(job())


# -- receive -----------------------------------------------------------------------------------------------------------


async def messages_of(receive: Any, count: int) -> list[Message]:
    return [await asyncio.wait_for(receive(), DEADLINE) for _ in range(count)]


def http(data: bytes = b"", more: bool = False) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


GONE = {"type": "http.disconnect"}


@pytest.mark.parametrize("parser", PARSERS)
def test_receive_gives_the_body_once_and_the_disconnect_for_ever_after(parser: str) -> None:
    found: list[list[Message]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        first = await messages_of(receive, 1)
        await hello(scope, receive, send)
        found.append(first + await messages_of(receive, 3))

    async def job() -> None:
        async with Served(app, parser) as served:
            client = await served.connect()
            for raw in (
                GET,
                request(method=b"POST", body=b"abc"),
                request(
                    "/", b"Transfer-Encoding: chunked", method=b"POST", body=b"1\r\na\r\n2\r\nbc\r\n0\r\nX: y\r\n\r\n"
                ),
                request("/", b"Content-Length: 0", method=b"POST"),
            ):
                await client.ask(raw)
            await until(lambda: len(found) == 4, "every application has returned")
        assert found == [[http(data), GONE, GONE, GONE] for data in (b"", b"abc", b"abc", b"")]

    run(job())


@EVENT_LOOPS
def test_receive_waits_for_pieces_and_joins_what_came_since(loop: str) -> None:
    async def job() -> None:
        asked = asyncio.Event()
        arrived = asyncio.Event()
        found: list[Message] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            asked.set()
            found.append(await receive())
            await arrived.wait()
            found.append(await receive())
            found.append(await receive())
            await hello(scope, receive, send)

        async with Served(app) as served:
            client = await served.connect()
            await client.send(request("/", b"Content-Length: 9", method=b"POST"))
            await asked.wait()
            await client.send(b"abc")
            await until(lambda: found, "the first piece was taken")
            for piece in (b"de", b"f"):
                size = served.connection.cycle.buffered
                await client.send(piece)
                await until(lambda: served.connection.cycle.buffered > size, "the piece has arrived")  # noqa: B023
            arrived.set()
            await until(lambda: len(found) == 2, "what came was taken")
            await client.send(b"ghi")
            await client.response()
            assert found == [http(b"abc", True), http(b"def", True), http(b"ghi")]

    run(job(), loop)


@EVENT_LOOPS
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("body_sent", [0, 3, 5])
def test_receive_tells_that_the_client_has_left(how: str, body_sent: int, loop: str) -> None:
    async def job() -> None:
        found: list[Message] = []
        waits = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            while not found or found[-1] != GONE:
                if len(found) == (1 if body_sent else 0):
                    waits.set()
                found.append(await receive())
            found.append(await receive())
            await send(start())
            await send(body(b"nobody reads this"))
            if how == "reset" or body_sent < 5:
                await send({})  # whoever has gone for good hears no mistakes either

        async with Served(app) as served:
            client = await served.connect()
            await client.send(request("/", b"Content-Length: 5", method=b"POST") + b"12345"[:body_sent])
            await waits.wait()
            await until(lambda: served.connection.cycle._waiters, "the application waits")
            getattr(client, how)()
            await until(lambda: not served.state.tasks, "the application has returned")
            assert found[-2:] == [GONE, GONE]
            assert [message["body"] for message in found[:-2]] == ([b"12345"[:body_sent]] if body_sent else [])
            assert not [line for line in served.log if "Exception" in line]

    run(job(), loop)


def test_several_tasks_may_wait_in_receive() -> None:
    async def job() -> None:
        found: list[Message] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            waiting = [asyncio.ensure_future(receive()) for _ in range(3)]
            await asyncio.sleep(0)
            await hello(scope, receive, send)
            found.extend(await asyncio.gather(*waiting))

        async with Served(app) as served:
            await served.ask()
            await until(lambda: not served.state.tasks, "the application has returned")
            assert found == [GONE] * 3

    run(job())


def test_a_cancelled_receive_leaves_nothing_behind() -> None:
    """Frameworks poll for the disconnect by cancelling a `receive` at once, thousands of times in one stream."""

    async def job() -> None:
        left: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["method"] == "GET":
                await receive()
            for _ in range(100):
                polls = [asyncio.ensure_future(receive()) for _ in range(2)]
                await asyncio.sleep(0)
                for poll in polls:
                    poll.cancel()
                await asyncio.sleep(0)
            connection = served.connection
            left.append((connection.cycle._waiters, connection.deadline))
            await hello(scope, receive, send)

        async with Served(app, timeout_request_body=5) as served:
            await served.ask()
            await served.ask(request("/", b"Content-Length: 5", method=b"POST"))
            assert left == [(None, float("inf"))] * 2

    run(job())


def test_one_cancelled_receive_takes_nothing_from_another() -> None:
    async def job() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            stays, goes = (asyncio.ensure_future(receive()) for _ in range(2))
            await asyncio.sleep(0)
            goes.cancel()
            await asyncio.sleep(0)
            assert served.connection.deadline < float("inf"), "somebody still waits for the body"
            message = await stays
            await send(start())
            await send(body(message["body"]))

        async with Served(app) as served:
            client = await served.connect()
            await client.send(request("/", b"Content-Length: 5", method=b"POST"))
            await until(lambda: served.connection.deadline < float("inf"), "the application waits")
            await client.send(b"hello")
            assert (await client.response()).body == b"hello"

    run(job())


# -- 100-continue ------------------------------------------------------------------------------------------------------

EXPECT = request("/", b"Expect: 100-continue", b"Content-Length: 5", method=b"POST")


@EVENT_LOOPS
@pytest.mark.parametrize("parser", PARSERS)
def test_100_is_sent_when_the_application_wants_the_body(parser: str, loop: str) -> None:
    async def job() -> None:
        async with Served(echo, parser) as served:
            client = await served.connect()
            for _ in range(2):
                await client.send(EXPECT)
                assert await client.line() == b"HTTP/1.1 100 Continue"
                assert await client.line() == b""
                await client.send(b"he")
                await client.send(b"llo")
                response = await client.response()
                assert (response.body, response.says_close) == (b"hello", False)

    run(job(), loop)


@pytest.mark.parametrize(
    ("head", "data"),
    [
        (EXPECT, b"hello"),  # in the same segment: the client does not wait
        (request("/", b"Expect: 100-continue", b"Content-Length: 0", method=b"POST"), b""),
        (request("/", b"Expect: 100-continue", b"Content-Length: 5", method=b"POST", version=b"1.0"), b"hello"),
    ],
)
def test_100_is_not_sent_where_nobody_waits_for_it(head: bytes, data: bytes) -> None:
    async def job() -> None:
        async with Served(echo) as served:
            response = await served.ask(head + data)
            assert (response.interim, response.body) == ([], data)

    run(job())


@pytest.mark.parametrize("receives", [False, True])
def test_an_answer_without_the_expected_body_says_close(receives: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(413, (b"content-length", b"0")))
        if receives:  # after the start it is too late for an interim response
            waiting = asyncio.ensure_future(receive())
            await asyncio.sleep(0.01)
            waiting.cancel()
        await send(body())

    async def job() -> None:
        async with Served(app) as served:
            client = await served.connect()
            response = await client.ask(EXPECT)
            assert (response.interim, response.status, response.says_close) == ([], 413, True)
            assert await client.ends() == "eof"

    run(job())


# -- Counters ----------------------------------------------------------------------------------------------------------


def test_completed_responses_are_counted_and_the_last_calls_back() -> None:
    async def job() -> None:
        calls: list[int] = []
        async with Served(hello) as served:
            served.state.max_requests = 3
            served.state.on_max_requests = lambda: calls.append(served.state.total_requests)
            client = await served.connect()
            for number in range(1, 6):
                await client.ask(GET)
                assert served.state.total_requests == number
            assert calls == [3]

    run(job())


def test_a_cut_answer_is_not_counted_and_a_refused_request_is() -> None:
    async def job() -> None:
        async with Served(raises(ValueError(), "started")) as served:
            client = await served.connect()
            await client.send(GET)
            await client.rest()
            assert served.state.total_requests == 0

    run(job())


def test_phases_in_their_order() -> None:
    phases: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        cycle = served.connection.cycle
        phases.append(cycle.phase)
        await send(start())
        phases.append(cycle.phase)
        await send(body(b"x", True))
        phases.append(cycle.phase)
        await send(body(b"y"))
        phases.append(cycle.phase)

    async def job() -> None:
        nonlocal served
        async with served:
            await served.ask()

    served = Served(app)
    run(job())
    assert phases == [AWAITING_START, HEAD_HELD, 2, COMPLETE]


def test_the_access_line_is_logged_with_the_status_that_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, int]] = []

    class Lines:
        def log(self, scope: Any, status: int) -> None:
            lines.append((scope["path"], status))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/500":
            raise ValueError
        await send(start(int(scope["path"][1:])))
        if scope["path"] == "/201":
            await asyncio.sleep(0.01)
        await send(body())

    async def job() -> None:
        async with Served(app) as served:
            client = await served.connect()
            served.connection.service.access = Lines()  # type: ignore[assignment]
            answers: list[Response] = [await client.ask(request(f"/{status}")) for status in (200, 201, 404, 500)]
            assert [answer.status for answer in answers] == [200, 201, 404, 500]
        assert lines == [("/200", 200), ("/201", 201), ("/404", 404), ("/500", 500)]

    run(job())


@EVENT_LOOPS
def test_who_was_told_of_the_disconnect_may_answer_once_more(loop: str) -> None:
    """Frameworks end what they streamed when the client leaves, and some return another response behind it."""

    async def job() -> None:
        errors: list[BaseException] = []
        told = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            await send(body(b"data", True))
            while (await receive())["type"] != "http.disconnect":
                pass
            await send(body())
            await send(start())
            await send(body(b"again"))
            told.set()

        async with Served(note(errors)(app)) as served:
            client = await served.connect()
            await client.send(GET)
            client.half_close()
            await asyncio.wait_for(told.wait(), DEADLINE)
            assert (await client.response()).body == b"data"
        assert errors == []

    run(job(), loop)
