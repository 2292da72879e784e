"""The same rules over TLS and over a UNIX socket."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Certificates
from tests.support import Running, Wire

from .cases import SMUGGLED
from .harness import GET, LAST, assert_ended, assert_refused, body, chunked, echo, get, play, start

HERE = Path(__file__).parent
BIG = play(("send", start()), ("flood", 100, 65_536), ("send", body()))


@pytest.fixture
def tls(parser: str, uvicorn: Callable[..., Running], certificates: Certificates) -> Running:
    return uvicorn("app:app", "--http", parser, *certificates.options, cwd=HERE)


@pytest.fixture
def uds(parser: str, uvicorn: Callable[..., Running], tmp_path: Path) -> Running:
    return uvicorn("app:app", "--http", parser, "--uds", str(tmp_path / "s"), cwd=HERE)


def exercise(connect: Callable[[], Wire]) -> None:
    """What must be the same over any transport."""
    with connect() as wire:
        wire.send(get(b"/a") + chunked(b"5\r\nhello\r\n0\r\n\r\n") + get(b"/c", method=b"HEAD") + LAST)
        assert echo(wire.read_response()).scope["path"] == "/a"
        assert echo(wire.read_response()).body == b"hello"
        assert wire.read_response("HEAD").body == b""
        assert echo(wire.read_response()).scope["path"] == "/last"
        assert_ended(wire)
    with connect() as wire:
        wire.send(GET + b"GET / HTTP/1.1\r\n\r\n" + SMUGGLED)
        assert wire.read_response().status == 200
        assert_refused(wire)
    with connect() as wire:
        wire.send(get(b"/", b"Expect: 100-continue\r\nContent-Length: 5\r\n", method=b"POST"))
        assert wire.read_exactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(b"hello")
        assert echo(wire.read_response()).body == b"hello"
    with connect() as wire:
        data = b"x" * 1_000_000
        wire.send(get(b"/", b"Content-Length: 1000000\r\n", method=b"POST") + data)
        assert echo(wire.read_response()).body == data
    with connect() as wire:
        wire.send(get(BIG) * 2 + LAST)
        for _ in range(2):
            assert len(wire.read_response().body) == 6_553_600
        assert wire.read_response().status == 200
        assert_ended(wire)
    with connect() as wire:
        wire.send(get(b"/a", version=b"1.0"))
        assert wire.read_response().status == 200
        assert_ended(wire)


def test_tls(tls: Running, certificates: Certificates) -> None:
    context = certificates.context()
    exercise(lambda: Wire.connect(tls, tls=context))
    with Wire.connect(tls, tls=context) as wire:
        scope = echo(wire.request(GET)).scope
        assert scope["scheme"] == "https"
        assert scope["client"] == wire.sock.getsockname()
        assert scope["server"] == ("127.0.0.1", tls.port)
    assert "Traceback" not in tls.log


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_early_answer_breaks_no_upload_off_over_tls(
    uvicorn: Callable[..., Running], certificates: Certificates, loop: str
) -> None:
    """A client that reads only when all is sent would report the broken upload, not the answer."""
    server = uvicorn("app:app", "--loop", loop, "--timeout-keep-alive", "60", *certificates.options, cwd=HERE)
    early = play(("send", start(413, (b"content-length", b"2"))), ("send", body(b"no")))
    with Wire.connect(server, tls=certificates.context()) as wire:
        for fields, upload in (
            (b"Content-Length: 1000000\r\n", [b"x" * 10_000] * 100),
            (b"Transfer-Encoding: chunked\r\n", [b"2710\r\n" + b"x" * 10_000 + b"\r\n"] * 100 + [b"0\r\n\r\n"]),
        ):
            wire.send(get(early, fields, method=b"POST"))
            for piece in upload:
                wire.send(piece)
            response = wire.read_response()
            assert (response.status, response.body, response.connection) == (413, b"no", set())
        wire.send(LAST)
        assert echo(wire.read_response()).scope["path"] == "/last"


def test_plain_http_to_a_tls_port_ends(tls: Running, certificates: Certificates) -> None:
    with Wire.connect(tls) as wire:
        wire.send(GET)
        wire.read_until_close()
    with Wire.connect(tls, tls=certificates.context()) as wire:
        assert wire.request(GET).status == 200
    assert "Traceback" not in tls.log


def test_a_client_that_breaks_tls_off_leaves_nothing(tls: Running, certificates: Certificates) -> None:
    for _ in range(10):
        with Wire.connect(tls, tls=certificates.context()) as wire:
            wire.send(get(BIG))
            assert wire.read_some()
        wire = Wire.connect(tls, tls=certificates.context())
        wire.send(get(BIG))
        wire.reset()
    with Wire.connect(tls, tls=certificates.context()) as wire:
        assert wire.request(GET).status == 200
        raw = wire.request(get(b"/usage")).body
        while b"'running': 0" not in raw:
            raw = wire.request(get(b"/usage")).body
    assert "Traceback" not in tls.log


def test_a_refusal_over_tls_ends_with_a_close_notify(tls: Running, certificates: Certificates) -> None:
    with Wire.connect(tls, tls=certificates.context()) as wire:
        wire.send(b"GET / HTTP/1.1\r\n\r\n")
        response = wire.read_response()
        assert response.status == 400
        wire.sock.settimeout(wire.timeout)
        assert isinstance(wire.sock, ssl.SSLSocket)
        assert wire.sock.recv(1) == b""  # an end without it raises SSLEOFError


def test_a_unix_socket(uds: Running) -> None:
    exercise(lambda: Wire.connect(uds))
    with Wire.connect(uds) as wire:
        scope = echo(wire.request(GET)).scope
        assert scope["client"] is None
        assert scope["server"] == (uds.address, None)
        assert scope["scheme"] == "http"
    with Wire.connect(uds) as wire:
        wire.send(GET)
        wire.half_close()
        assert wire.read_response().status == 200
        assert_ended(wire)
    with Wire.connect(uds) as wire:
        wire.send(b"GET / HTTP/1.1\r\n\r\n")
        assert_refused(wire)
    uds.wait_for("WARNING.*Invalid HTTP request received")
    assert "Traceback" not in uds.log


def test_ipv6(parser: str, uvicorn: Callable[..., Running]) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    server = uvicorn("app:app", "--http", parser, "--host", "::1", cwd=HERE)
    exercise(lambda: Wire.connect(server))
    with Wire.connect(server) as wire:
        scope = echo(wire.request(GET)).scope
        assert scope["client"] == ("::1", wire.sock.getsockname()[1])
        assert scope["server"] == ("::1", server.port)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_each_event_loop(parser: str, uvicorn: Callable[..., Running], loop: str) -> None:
    server = uvicorn("app:app", "--http", parser, "--loop", loop, cwd=HERE)
    exercise(lambda: Wire.connect(server))
    with Wire.connect(server) as wire:
        wire.send(GET)
        wire.half_close()
        assert wire.read_response().status == 200
        assert_ended(wire)


def test_tls_with_asyncio(parser: str, uvicorn: Callable[..., Running], certificates: Certificates) -> None:
    server = uvicorn("app:app", "--http", parser, "--loop", "asyncio", *certificates.options, cwd=HERE)
    context = certificates.context()
    exercise(lambda: Wire.connect(server, tls=context))
    assert "Traceback" not in server.log


@pytest.mark.parametrize("allowed", [None, "*"])
def test_a_proxy_over_a_unix_socket_is_believed_only_when_all_are(
    parser: str, uvicorn: Callable[..., Running], tmp_path: Path, allowed: str | None
) -> None:
    options = ["--forwarded-allow-ips", allowed] if allowed else []
    server = uvicorn("app:app", "--http", parser, "--uds", str(tmp_path / "s"), *options, cwd=HERE)
    with Wire.connect(server) as wire:
        scope = echo(wire.request(get(b"/", b"X-Forwarded-For: 1.2.3.4\r\n"))).scope
    assert scope["client"] == (("1.2.3.4", 0) if allowed else None)
