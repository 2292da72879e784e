"""WSGI applications through our own middleware: PEP 3333, streaming both ways, clients that leave."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from uvicorn.server.wsgi import Outbox, _WSGIMiddleware, build_environ

DEADLINE = 60.0


def scope(**rest: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "http_version": "1.1",
        "headers": [],
        "root_path": "",
        **rest,
    }


class Exchange:
    """The server's side of one request: pieces of the body, and what the application sends."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.on_send: Callable[[dict[str, Any]], None] = lambda message: None

    async def receive(self) -> dict[str, Any]:
        if self.pieces:
            piece = self.pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self.pieces)}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        self.on_send(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def call(app: Any, *pieces: bytes, **rest: Any) -> Exchange:
    if pieces:
        rest.setdefault("headers", [(b"transfer-encoding", b"chunked")])
        rest.setdefault("method", "POST")

    async def main() -> Exchange:
        exchange = Exchange(*(pieces or (b"",)))
        await asyncio.wait_for(_WSGIMiddleware(app)(scope(**rest), exchange.receive, exchange.send), DEADLINE)
        return exchange

    return asyncio.run(main())


def ok(start_response: Any, *headers: tuple[str, str]) -> Any:
    return start_response("200 OK", list(headers))


def test_list_is_one_answer_with_its_length() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        ok(start_response, ("Content-Type", "text/plain"))
        return [b"hello ", b"world"]

    exchange = call(app)
    assert exchange.sent == [
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", b"11")],
        },
        {"type": "http.response.body", "body": b"hello world", "more_body": False},
    ]


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 X")])
def test_length_is_not_invented_where_no_body_tells_it(method: str, status: str) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response(status, [])
        return []

    assert call(app, method=method).sent[0]["headers"] == []


def test_pieces_are_sent_as_they_come() -> None:
    sent = threading.Event()

    async def main() -> None:
        exchange = Exchange(b"")
        exchange.on_send = lambda message: sent.set() if message.get("body") == b"one" else None

        def app(environ: Any, start_response: Any) -> Iterator[bytes]:
            ok(start_response)
            yield b""
            yield b"one"
            assert sent.wait(DEADLINE), "the second piece is made after the first one was sent"
            yield b"two"

        await asyncio.wait_for(_WSGIMiddleware(app)(scope(), exchange.receive, exchange.send), DEADLINE)
        assert [message.get("body") for message in exchange.sent] == [None, b"one", b"two", b""]
        assert exchange.sent[0]["headers"] == []

    asyncio.run(main())


def test_body_is_read_as_it_comes() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        assert environ["wsgi.input"].readline() == b"first\n"
        assert environ["wsgi.input"].read(3) == b"sec"
        ok(start_response)
        return [environ["wsgi.input"].read(), b"|", environ["wsgi.input"].read(10)]

    assert call(app, b"fir", b"st\nsecond", b" and ", b"third").body == b"ond and third|"


def test_request_without_a_body_reads_as_empty_without_asking() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        ok(start_response)
        return [environ["wsgi.input"].read()]

    async def main() -> None:
        exchange = Exchange()  # receive() would wait for ever
        await asyncio.wait_for(_WSGIMiddleware(app)(scope(), exchange.receive, exchange.send), DEADLINE)
        assert exchange.body == b""

    asyncio.run(main())


def test_write_callable() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = ok(start_response)
        write(b"a")
        write(b"b")
        return [b"c"]

    assert call(app).body == b"abc"


def test_exc_info_replaces_a_head_that_is_not_sent() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        ok(start_response)
        try:
            raise ValueError
        except ValueError as exc:
            start_response("500 Oh", [], (type(exc), exc, exc.__traceback__))
        return [b"sorry"]

    assert call(app).sent[0]["status"] == 500


def test_exc_info_raises_when_the_head_is_sent() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        ok(start_response)
        yield b"data"
        try:
            raise ValueError("too late")
        except ValueError as exc:
            start_response("500 Oh", [], (type(exc), exc, exc.__traceback__))

    with pytest.raises(ValueError, match="too late"):
        call(app)


def test_second_start_response_raises() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        ok(start_response)
        ok(start_response)
        return []

    with pytest.raises(AssertionError, match="again"):
        call(app)


def test_missing_start_response_raises() -> None:
    with pytest.raises(AssertionError, match="has not called start_response"):
        call(lambda environ, start_response: [b"x"])


def test_exception_of_the_application_is_raised_and_close_is_called() -> None:
    closed = []

    class Result:
        def __iter__(self) -> Iterator[bytes]:
            raise LookupError("broken")

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> Result:
        ok(start_response)
        return Result()

    with pytest.raises(LookupError):
        call(app)
    assert closed == [True]


def test_stream_ends_when_the_client_leaves() -> None:
    ended = threading.Event()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        ok(start_response)
        try:
            while True:
                yield b"x" * 1000
        finally:
            ended.set()

    async def main() -> None:
        exchange = Exchange(b"")
        exchange.on_send = lambda message: exchange.gone.set() if len(exchange.sent) > 3 else None
        await asyncio.wait_for(_WSGIMiddleware(app)(scope(), exchange.receive, exchange.send), DEADLINE)

    asyncio.run(main())
    assert ended.wait(DEADLINE), "the generator was closed"


def test_reading_from_a_client_that_left_raises_an_os_error() -> None:
    seen: list[type] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError as exc:
            seen.append(type(exc))
            raise
        return []

    async def main() -> None:
        exchange = Exchange()
        exchange.gone.set()
        await asyncio.wait_for(
            _WSGIMiddleware(app)(scope(headers=[(b"content-length", b"5")]), exchange.receive, exchange.send), DEADLINE
        )
        assert exchange.sent == []

    asyncio.run(main())
    assert [kind.__name__ for kind in seen] == ["ClientDisconnected"]


def test_thread_waits_while_the_client_is_slow() -> None:
    async def main() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        put: list[int] = []

        def fill() -> None:
            for number in range(4):
                outbox.put({"body": b"", "more_body": True}, 40_000)
                put.append(number)

        thread = threading.Thread(target=fill)
        thread.start()
        taken = 0
        while taken < 4:
            await asyncio.wait_for(outbox.ready.wait(), DEADLINE)
            messages = outbox.take()
            assert len(messages) == 1, "two of these would be more than may be under way"
            taken += len(messages)
        thread.join(DEADLINE)
        assert put == [0, 1, 2, 3]

    asyncio.run(main())


def test_lifespan_is_answered() -> None:
    async def main() -> None:
        exchange = Exchange(b"", b"")
        await _WSGIMiddleware(lambda e, s: [])({"type": "lifespan"}, exchange.receive, exchange.send)
        assert [message["type"] for message in exchange.sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]

    asyncio.run(main())


def test_environ() -> None:
    environ = build_environ(
        scope(
            method="POST",
            root_path="/api",
            path="/api/ü x/",
            raw_path=b"/api/%C3%BC%20x%2F",
            query_string=b"a=%20",
            scheme="https",
            server=("example.org", 8443),
            client=("1.2.3.4", 5),
            headers=[
                (b"host", b"example.org"),
                (b"content-type", b"text/plain"),
                (b"content-length", b"3"),
                (b"accept", b"a"),
                (b"accept", b"b"),
                (b"cookie", b"x=1"),
                (b"cookie", b"y=2"),
                (b"x-real-ip", b"1.2.3.4"),
                (b"x_real_ip", b"6.6.6.6"),
            ],
        ),
        None,
        io.BytesIO(b"abc"),
    )
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/api",
        "PATH_INFO": "/Ã¼ x/",  # octets as latin-1
        "QUERY_STRING": "a=%20",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "example.org",
        "SERVER_PORT": "8443",
        "wsgi.url_scheme": "https",
        "REMOTE_ADDR": "1.2.3.4",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "3",
        "HTTP_HOST": "example.org",
        "HTTP_ACCEPT": "a,b",
        "HTTP_COOKIE": "x=1; y=2",
        "HTTP_X_REAL_IP": "1.2.3.4",
    }
    assert {key: environ[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("server", "name", "port"), [(None, "localhost", "80"), (("/run/x.sock", None), "localhost", "80")]
)
def test_environ_names_a_server_over_a_unix_socket(server: Any, name: str, port: str) -> None:
    environ = build_environ(scope(server=server), None, None)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)
    assert "REMOTE_ADDR" not in environ
