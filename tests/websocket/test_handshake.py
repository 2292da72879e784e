"""The opening handshake: what is refused and how, what is accepted and with what, and how an application says no."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Certificates
from uvicorn.server import websocket_ending

from .harness import ENGINES, KEY, TEXT, App, Recorder, Served, close_frame, echo, frame, handshake

pytestmark = pytest.mark.parametrize("engine", ENGINES)


async def never(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the application was called")


# -- Refused by the server --


@pytest.mark.parametrize(
    ("request_bytes", "status", "cause"),
    [
        (handshake(method="POST"), 405, "unsupported HTTP method: POST"),
        (handshake(key=None), 400, "missing Sec-WebSocket-Key header"),
        (handshake(key="abc"), 400, "invalid Sec-WebSocket-Key header: abc"),
        (handshake(key=base64.b64encode(b"x" * 15).decode()), 400, "invalid Sec-WebSocket-Key header"),
        (handshake(key=base64.b64encode(b"x" * 17).decode()), 400, "invalid Sec-WebSocket-Key header"),
        (handshake(key="dGhlIHNhbXBsZSBub25jZQ"), 400, "invalid Sec-WebSocket-Key header"),
        (handshake(headers=[f"Sec-WebSocket-Key: {KEY}"]), 400, "multiple Sec-WebSocket-Key header"),
        (handshake(version=None), 400, "missing Sec-WebSocket-Version header"),
        (handshake(headers=["Sec-WebSocket-Version: 13"]), 400, "multiple Sec-WebSocket-Version header"),
        (handshake(version="8"), 426, "unsupported Sec-WebSocket-Version header: 8"),
        (handshake(headers=["Sec-WebSocket-Protocol: a b"]), 400, "invalid Sec-WebSocket-Protocol header: a b"),
        (handshake(headers=["Sec-WebSocket-Extensions: ;"]), 400, "invalid Sec-WebSocket-Extensions header: ;"),
    ],
)
def test_a_wrong_handshake_is_refused_with_the_cause(
    engine: str, request_bytes: bytes, status: int, cause: str
) -> None:
    with Served(never, engine) as served, served.connect() as client:
        client.wire.send(request_bytes)
        response = client.read_handshake()
        assert response.status == status
        assert response.body.decode().startswith(f"Failed to open a WebSocket connection: {cause}")
        assert response.connection & {b"close"}
        assert response.get("date")
        assert response.get("server") == b"uvicorn"
        if status == 426:
            assert response.get("sec-websocket-version") == b"13"
            assert response.get("upgrade") == b"websocket"
        if status == 405:
            assert response.get("allow") == b"GET"
        assert client.ended() == "eof"
        assert served.errors == []
        assert len(served.lines(containing="connection rejected")) == 1
        assert cause in served.lines(containing="connection rejected")[0]


def test_what_a_client_sent_is_in_the_log_as_a_start_of_it_that_no_terminal_obeys(engine: str) -> None:
    with Served(never, engine) as served, served.connect() as client:
        client.wire.send(handshake(key="\x9b31m\x85" + "x" * 9000))
        response = client.read_handshake()
        assert response.status == 400
        shown = r"invalid Sec-WebSocket-Key header: \x9b31m\x85" + "x" * 95 + "..."
        assert response.body.decode() == f"Failed to open a WebSocket connection: {shown}.\n"
        assert f"{shown} (127.0.0.1:" in served.wait_for_line("connection rejected")


def test_the_limits_of_http_hold_for_a_handshake(engine: str) -> None:
    with Served(never, engine) as served:
        for headers, status in [(["Host: other"], 400), (["X: " + "x" * 17000], 431), (["X: y"] * 100, 431)]:
            with served.connect() as client:
                client.wire.send(handshake(headers=headers))
                assert client.read_handshake().status == status
        with served.connect() as client:
            client.wire.send(handshake("/" + "x" * 9000))
            assert client.read_handshake().status == 414


def test_a_request_over_the_concurrency_limit_gets_503(engine: str) -> None:
    app = Recorder()
    with Served(app, engine, limit_concurrency=2) as served, served.open(), served.connect() as second:
        second.wire.send(handshake())
        response = second.read_handshake()
        assert (response.status, response.body) == (503, b"Service Unavailable")
        assert served.lines(containing="WARNING: Exceeded concurrency limit.")


# -- Accepted --


def test_the_scope(engine: str) -> None:
    app = Recorder()
    headers = [
        "Origin: http://elsewhere",
        "X-Twice: a",
        "X-Twice: b",
        "X-Latin: gr\xfc\xdfe",
        "Sec-WebSocket-Protocol: a, b",
    ]
    with Served(app, engine, root_path="/base") as served, served.open("/p%C3%BC%2f?q=%20&r", headers) as client:
        client.close()
        app.finished()
        port = served.port
    scope = dict(app.scope)
    client_address = scope.pop("client")
    assert client_address[0] == "127.0.0.1"
    fields = scope.pop("headers")
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "server": ("127.0.0.1", port),
        "root_path": "/base",
        "path": "/base/pü/",
        "raw_path": b"/base/p%C3%BC%2f",
        "query_string": b"q=%20&r",
        "subprotocols": ["a", "b"],
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }
    assert fields == [
        (b"host", b"localhost"),
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-key", KEY.encode()),
        (b"sec-websocket-version", b"13"),
        (b"origin", b"http://elsewhere"),
        (b"x-twice", b"a"),
        (b"x-twice", b"b"),
        (b"x-latin", b"gr\xfc\xdfe"),
        (b"sec-websocket-protocol", b"a, b"),
    ]


def test_proxy_headers_are_believed_of_a_trusted_peer(engine: str) -> None:
    app = Recorder()
    headers = ["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"]
    with Served(app, engine) as served, served.open("/", headers) as client:
        client.close()
        app.finished()
        assert served.lines(containing='192.0.2.7:0 - "WebSocket /" [accepted]')
    assert app.scope["scheme"] == "wss"
    assert app.scope["client"] == ("192.0.2.7", 0)


def test_the_accept_has_its_headers_in_order_and_the_applications_last(engine: str) -> None:
    app = Recorder(
        headers=[(b"X-One", b"1"), [b"x-two", b"2"], (b"Set-Cookie", b"a=b"), (b"Connection", b"close")],
        subprotocol="b",
    )
    with Served(app, engine, headers=[("x-config", "yes")]) as served, served.connect() as client:
        client.wire.send(handshake(headers=["Sec-WebSocket-Protocol: a, b"]))
        response = client.read_handshake()
        date = response.get("date")
        assert date is not None
        assert response.reason == "Switching Protocols"
        assert response.headers == [
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (
                b"sec-websocket-accept",
                response.get("sec-websocket-accept"),
            ),
            (b"date", date),
            (b"server", b"uvicorn"),
            (b"x-config", b"yes"),
            (b"x-one", b"1"),
            (b"x-two", b"2"),
            (b"set-cookie", b"a=b"),
            (b"sec-websocket-protocol", b"b"),
        ]


def test_the_accept_value_is_the_one_of_the_specification(engine: str) -> None:
    with Served(echo, engine) as served, served.connect() as client:
        client.wire.send(handshake(key="dGhlIHNhbXBsZSBub25jZQ=="))
        assert client.read_handshake().get("sec-websocket-accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 1.3


def test_date_and_server_of_the_application_replace_the_defaults(engine: str) -> None:
    app = Recorder(headers=[(b"Server", b"mine"), (b"date", b"today")])
    with Served(app, engine) as served, served.connect() as client:
        client.wire.send(handshake())
        response = client.read_handshake()
        assert (response.get("server"), response.get("date")) == (b"mine", b"today")


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": [(b"x", b"a\r\nb: c")]},
        {"headers": [(b"x y", b"a")]},
        {"headers": [("x", "a")]},
        {"subprotocol": "a\r\nb: c"},
    ],
    ids=str,
)
def test_headers_that_would_split_the_response_are_the_applications_error(engine: str, fields: dict[str, Any]) -> None:
    with Served(Recorder(**fields), engine) as served, served.connect() as client:
        client.wire.send(handshake())
        response = client.read_handshake()
        assert (response.status, response.body) == (500, b"Internal Server Error")
        served.wait_for_line("ERROR: Exception in ASGI application")


def test_a_subprotocol_that_was_not_offered_is_sent_with_a_warning(engine: str) -> None:
    app = Recorder(subprotocol="other")
    with Served(app, engine) as served, served.connect() as client:
        client.wire.send(handshake(headers=["Sec-WebSocket-Protocol: a"]))
        assert client.read_handshake().get("sec-websocket-protocol") == b"other"
        served.wait_for_line("WARNING: The application chose the subprotocol 'other', which was not offered.")


@pytest.mark.parametrize("nothing", ["", None])
def test_a_subprotocol_of_nothing_is_none(engine: str, nothing: str | None) -> None:
    with Served(Recorder(subprotocol=nothing), engine) as served, served.connect() as client:
        client.wire.send(handshake(headers=["Sec-WebSocket-Protocol: a"]))
        response = client.read_handshake()
        assert (response.status, response.get("sec-websocket-protocol")) == (101, None)
        client.close()
        assert served.lines(containing="WARNING") == []


def test_a_refusal_of_head_has_no_content(engine: str) -> None:
    with Served(never, engine) as served, served.connect() as client:
        client.wire.send(handshake(method="HEAD"))
        response = client.wire.read_response("HEAD")
        assert (response.status, response.get("allow")) == (405, b"GET")
        assert client.wire.read_until_close() == b""


def test_the_log_of_a_connection(engine: str) -> None:
    with Served(echo, engine) as served, served.open("/chat/%C3%BC?a=b") as client:
        address = "{}:{}".format(*client.wire.sock.getsockname())
        client.close()
        served.wait_for_line("connection closed")
        lines = [line for line in served.log.lines if "onnection" in line or "WebSocket" in line]
        assert lines == [
            f'INFO: {address} - "WebSocket /chat/%C3%BC?a=b" [accepted]',
            "INFO: connection open",
            "INFO: connection closed",
        ]


# -- Refused by the application --


def test_a_close_before_the_accept_is_403(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("close", code=4001, reason="ignored")
        await app.receive()
        await app.try_send("accept")

    app = Recorder(script)
    with Served(app, engine) as served, served.connect() as client:
        client.wire.send(handshake("/no") + frame(TEXT, b"early"))
        response = client.read_handshake()
        assert (response.status, response.reason, response.body) == (403, "Forbidden", b"")
        assert response.get("content-length") == b"0"
        assert client.ended() == "eof"
        assert app.finished()[1:] == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
        assert str(app.errors[0]) == "Unexpected ASGI message 'websocket.accept', after sending 'websocket.close'."
        assert served.lines(containing='"WebSocket /no" 403')
        assert served.lines(containing="INFO: connection rejected (403 Forbidden)")
        assert served.errors == []


def test_a_denial_response_in_one_piece_has_a_length(engine: str) -> None:
    async def script(app: Recorder) -> None:
        headers = [(b"X-Why", b"because"), (b"Content-Type", b"text/html")]
        await app.send("http.response.start", status=401, headers=headers)
        await app.send("http.response.body", body=b"who are you?")

    with Served(Recorder(script), engine) as served, served.connect() as client:
        client.wire.send(handshake())
        response = client.wire.read_response()
        assert (response.status, response.body, response.framing) == (401, b"who are you?", "length")
        assert response.get("x-why") == b"because"
        assert response.connection == {b"close"}
        assert client.ended() == "eof"
        assert served.lines(containing='"WebSocket /" 401')
        assert served.lines(containing="connection rejected (401 Unauthorized)")
        assert served.errors == []


def test_a_denial_response_is_streamed(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("http.response.start", status=599)
        await app.send("http.response.body", body=b"one", more_body=True)
        await app.gate.wait()
        await app.send("http.response.body", body=b"", more_body=True)
        await app.send("http.response.body", body=b"two", more_body=True)
        await app.send("http.response.body")

    app = Recorder(script)
    with Served(app, engine) as served, served.connect() as client:
        client.wire.send(handshake())
        seen = b""
        while b"3\r\none\r\n" not in seen:
            seen += client.wire.read_some()
        assert b"transfer-encoding: chunked" in seen
        served.call(lambda: app.gate.set())
        assert client.wire.read_until_close() == b"3\r\ntwo\r\n0\r\n\r\n"
        assert served.errors == []


def test_a_denial_with_a_length_of_the_application_keeps_it(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("http.response.start", status=400, headers=[(b"content-length", b"6")])
        await app.send("http.response.body", body=b"one", more_body=True)
        await app.send("http.response.body", body=b"two")

    with Served(Recorder(script), engine) as served, served.connect() as client:
        client.wire.send(handshake())
        response = client.wire.read_response()
        assert (response.body, response.get("content-length")) == (b"onetwo", b"6")


@pytest.mark.parametrize("status", [204, 304])
def test_a_denial_without_content(engine: str, status: int) -> None:
    async def script(app: Recorder) -> None:
        await app.send("http.response.start", status=status)
        await app.send("http.response.body", body=b"dropped")

    with Served(Recorder(script), engine) as served, served.connect() as client:
        client.wire.send(handshake())
        assert client.wire.read_response().framing == "none"
        assert client.wire.read_until_close() == b""


def test_a_denial_that_is_not_finished_is_cut(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("http.response.start", status=400)
        await app.send("http.response.body", body=b"one", more_body=True)

    with Served(Recorder(script), engine) as served, served.connect() as client:
        client.wire.send(handshake())
        assert not client.wire.read_until_close().endswith(b"0\r\n\r\n")
        served.wait_for_line("ERROR: ASGI callable returned without completing response.")


@pytest.mark.parametrize("status", [100, 101, 700, "200"])
def test_a_denial_with_an_impossible_status_is_the_applications_error(engine: str, status: Any) -> None:
    async def script(app: Recorder) -> None:
        await app.try_send("http.response.start", status=status)
        await app.send("close")

    app = Recorder(script)
    with Served(app, engine) as served, served.connect() as client:
        client.wire.send(handshake())
        assert client.read_handshake().status == 403
        assert str(app.errors[0]) == f"Invalid HTTP status code '{status}' in response."


@pytest.mark.parametrize("wrong", ["text", 5])
def test_a_denial_with_a_body_that_is_none_is_the_applications_error(engine: str, wrong: Any) -> None:
    async def script(app: Recorder) -> None:
        await app.send("http.response.start", status=400)
        await app.try_send("http.response.body", body=wrong)
        await app.send("http.response.body", body=bytearray(b"so"), more_body=True)
        await app.send("http.response.body", body=None)

    app = Recorder(script)
    with Served(app, engine) as served, served.connect() as client:
        client.wire.send(handshake())
        response = client.wire.read_response()
        assert (response.status, response.body) == (400, b"so")
        assert str(app.errors[0]) == f"Expected 'body' to be bytes, but got {type(wrong).__name__}."


def test_in_a_denial_only_the_body_may_follow(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("http.response.start", status=400)
        await app.try_send("accept")
        await app.send("http.response.body", body=b"x")
        await app.try_send("http.response.body", body=b"x")

    app = Recorder(script)
    with Served(app, engine) as served, served.connect() as client:
        client.wire.send(handshake())
        assert client.wire.read_response().body == b"x"
        app.finished()
        assert str(app.errors[0]) == "Expected ASGI message 'websocket.http.response.body' but got 'websocket.accept'."
        assert str(app.errors[1]).startswith("Unexpected ASGI message 'websocket.http.response.body', after sending")


# -- No answer --


def test_an_application_that_returns_without_an_answer_gives_500(engine: str) -> None:
    async def script(app: Recorder) -> None:
        pass

    with Served(Recorder(script), engine) as served, served.connect() as client:
        client.wire.send(handshake())
        response = client.read_handshake()
        assert (response.status, response.body) == (500, b"Internal Server Error")
        served.wait_for_line("ERROR: ASGI callable returned without completing handshake.")


def test_an_application_that_raises_before_the_answer_gives_500(engine: str) -> None:
    async def script(app: Recorder) -> None:
        raise ValueError("mine")

    with Served(Recorder(script), engine) as served, served.connect() as client:
        client.wire.send(handshake())
        assert client.read_handshake().status == 500
        served.wait_for_line("ERROR: Exception in ASGI application")


def test_a_client_that_leaves_before_the_answer_is_1006(engine: str) -> None:
    async def script(app: Recorder) -> None:
        app.opened.set()
        await app.receive()
        await app.try_send("accept")
        await app.try_send("send", text="x")

    app = Recorder(script)
    with Served(app, engine) as served, served.connect() as client:
        client.wire.send(handshake())
        assert app.opened.wait(30)
        client.wire.close()
        assert app.finished()[1:] == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
        assert served.errors == []
        assert [type(error).__name__ for error in app.errors] == ["ClientDisconnected", "RuntimeError"]


def test_frames_before_the_answer_wait_for_it_and_do_not_pile_up(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.gate.wait()
        await app.send("accept")
        while (await app.receive())["type"] != "websocket.disconnect":
            pass

    app = Recorder(script)
    with Served(app, engine) as served, served.connect() as client:
        client.wire.send(handshake())
        client.send(*[frame(TEXT, b"x" * 1000)] * 500)
        served.wait_until(lambda: app.gate is not None, "the application runs")
        served.wait_until(lambda: any(c._reading_paused for c in served.connections), "reading is paused")
        assert all(len(connection._early) < 400_000 for connection in served.connections)
        served.call(lambda: app.gate.set())
        assert client.read_handshake().status == 101
        client.send(close_frame())
        app.finished()
        assert len(app.messages) == 500


# -- Other sockets --


def test_over_tls(engine: str, certificates: Certificates) -> None:
    app = Recorder()
    options = {"ssl_keyfile": str(certificates.key), "ssl_certfile": str(certificates.certificate)}
    with Served(app, engine, **options) as served:
        context: ssl.SSLContext = certificates.context()
        with served.open(tls=context) as client:
            client.text("secret")
            assert client.close() == (1000, "")
        app.finished()
        assert app.scope["scheme"] == "wss"
        assert app.messages == ["secret"]
        with served.open(tls=context) as client:
            client.send(frame(0xB))
            assert client.read_close()[0] == 1002
        assert served.errors == []


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_over_tls_an_end_by_the_server_ends_tls(
    engine: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    for limit in ("_LINGER", "CLOSE_TIMEOUT"):
        monkeypatch.setattr(websocket_ending, limit, 3600.0)  # seconds, after which a connection is reset
    options = {"ssl_keyfile": str(certificates.key), "ssl_certfile": str(certificates.certificate), "loop": loop}
    with Served(echo, engine, **options) as served:
        with served.open(tls=certificates.context()) as client:
            client.send(frame(0xB))
            assert client.read_close()[0] == 1002
            assert client.ended() == "eof"
        with served.connect(tls=certificates.context()) as client:
            client.wire.send(handshake(key="abc"))
            assert client.read_handshake().status == 400
            assert client.ended() == "eof"
        served.wait_until(lambda: not served.connections, "the connections are forgotten")
        assert served.errors == []


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_over_tls_a_client_that_still_sends_gets_the_answer(
    engine: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    for limit in ("_LINGER", "_LINGER_QUIET"):
        monkeypatch.setattr(websocket_ending, limit, 3600.0)
    options = {"ssl_keyfile": str(certificates.key), "ssl_certfile": str(certificates.certificate), "loop": loop}
    with Served(echo, engine, ws_max_size=1000, **options) as served:
        with served.open(tls=certificates.context()) as client:
            client.binary(bytes(1 << 20))
            assert client.read_close()[0] == 1009
        with served.connect(tls=certificates.context()) as client:
            client.wire.send(handshake(key="abc") + bytes(1 << 20))
            assert client.read_handshake().status == 400
        served.wait_until(lambda: not served.connections, "the connections are forgotten")
        assert served.errors == []


def test_over_a_unix_socket(engine: str, tmp_path: Path) -> None:
    app = Recorder()
    path = str(tmp_path / "s")
    with Served(app, engine, uds=path) as served, served.open() as client:
        client.text("x")
        client.close()
        app.finished()
        assert app.messages == ["x"]
        assert app.scope["client"] is None
        assert app.scope["server"] == (path, None)
        assert served.lines(containing='INFO:  - "WebSocket /" [accepted]')


# -- Behind a request on the same connection --

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def behind(answer: Callable[[Any], Awaitable[None]], websocket: App) -> App:
    """An application that gives `answer` to a request, and is `websocket` to a handshake."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await answer(send)
        else:
            await websocket(scope, receive, send)

    return app


def test_a_client_that_has_not_read_the_response_before_stops_the_application(engine: str) -> None:
    octets, messages = 1 << 25, 300

    async def answer(send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % octets)]})
        await send({"type": "http.response.body", "body": bytes(octets)})

    async def script(app: Recorder) -> None:
        await app.send("accept")
        for _ in range(messages):
            await app.send("send", bytes=bytes(1 << 16))

    with Served(behind(answer, Recorder(script)), engine) as served, served.connect(timeout=60) as client:
        client.wire.send(GET + handshake())
        served.wait_until(lambda: any(getattr(one, "_writers", None) for one in served.connections), "send() waits")
        (connection,) = served.connections
        assert connection.transport.get_write_buffer_size() < octets
        assert len(client.wire.read_response().body) == octets
        assert client.read_handshake().status == 101
        for _ in range(messages):
            assert client.message() == bytes(1 << 16)
        assert client.read_close() == (1000, "")
        assert served.errors == []


def test_a_client_that_closed_its_side_before_the_handshake_was_read_is_gone(engine: str) -> None:
    asked, go = threading.Event(), asyncio.Event()

    async def answer(send: Any) -> None:
        asked.set()
        await go.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def script(app: Recorder) -> None:
        while (await app.receive())["type"] != "websocket.disconnect":
            pass

    app = Recorder(script)
    with Served(behind(answer, app), engine, ws_ping_interval=0) as served, served.connect() as client:
        client.wire.send(GET + handshake())
        client.wire.half_close()
        assert asked.wait(30)
        (connection,) = served.connections
        served.wait_until(lambda: connection.half_closed, "the end is seen")
        served.call(go.set)
        assert app.finished()[-1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        assert client.wire.read_response().status == 204
        assert client.ended() == "eof"
        assert served.errors == []
