"""RFC 7239, and what is taken from it and from X-Forwarded-Host and -Port when that is asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from uvicorn.server.forwarded import parse_forwarded
from uvicorn.server.proxy_headers import ProxyHeadersMiddleware


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=1.2.3.4", [{"for": "1.2.3.4"}]),
        ('For="[2001:db8::17]:4711"', [{"for": "[2001:db8::17]:4711"}]),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", [{"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"}]),
        ("for=a, for=b;host=c", [{"for": "a"}, {"for": "b", "host": "c"}]),
        ('for="a,b;c\\"d"', [{"for": 'a,b;c"d'}]),
        (",, for=a ,;", [{"for": "a"}]),
        ("", []),
        ("for=a;for=b", None),
        ("for=", None),
        ("for", None),
        ('for="a', None),
        ("for=a b=c", None),
        ("for = a", None),
    ],
)
def test_parse(value: str, expected: Any):
    assert parse_forwarded(value) == expected


def through(trusted: str, names: str, *headers: tuple[str, str], kind: str = "http") -> dict[str, Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    scope: dict[str, Any] = {
        "type": kind,
        "scheme": "http" if kind == "http" else "ws",
        "client": ("127.0.0.1", 1000),
        "server": ("127.0.0.1", 8000),
        "headers": [(b"host", b"inside:8000"), *((name.encode(), value.encode()) for name, value in headers)],
    }
    asyncio.run(ProxyHeadersMiddleware(app, trusted, names.split(","))(scope, None, None))
    return scope


def host(scope: dict[str, Any]) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == b"host"]


def test_what_nobody_asked_for_is_not_believed():
    scope = through(
        "127.0.0.1",
        "x-forwarded-for,x-forwarded-proto",
        ("x-forwarded-host", "evil"),
        ("x-forwarded-port", "1"),
        ("forwarded", "for=6.6.6.6;host=evil;proto=https"),
    )
    assert (scope["client"][0], scope["scheme"], host(scope)) == ("127.0.0.1", "http", [b"inside:8000"])


def test_forwarded_gives_client_scheme_and_host_of_the_last_trusted_proxy():
    value = 'for=6.6.6.6;host=evil;proto=http, for="[2001:db8::1]:99";proto=https;host=example.org, for=10.0.0.9'
    scope = through("127.0.0.1,10.0.0.0/8", "forwarded", ("forwarded", value), ("x-forwarded-for", "5.5.5.5"))
    assert scope["client"] == ("2001:db8::1", 99)
    assert (scope["scheme"], scope["server"], host(scope)) == ("https", ("example.org", 443), [b"example.org"])


def test_a_forwarded_that_breaks_the_grammar_is_ignored():
    assert through("127.0.0.1", "forwarded", ("forwarded", "for=a;for=b"))["client"] == ("127.0.0.1", 1000)


def test_forwarded_from_a_stranger_is_ignored():
    assert through("10.0.0.1", "forwarded", ("forwarded", "for=1.2.3.4"))["client"] == ("127.0.0.1", 1000)


@pytest.mark.parametrize(
    ("headers", "server", "value"),
    [
        ({"x-forwarded-host": "example.org"}, ("example.org", 80), b"example.org"),
        ({"x-forwarded-host": "evil, example.org:81"}, ("example.org", 81), b"example.org:81"),
        ({"x-forwarded-host": "[::1]:81"}, ("::1", 81), b"[::1]:81"),
        ({"x-forwarded-port": "444"}, ("inside", 444), b"inside:444"),
        ({"x-forwarded-host": "a", "x-forwarded-port": "443", "x-forwarded-proto": "https"}, ("a", 443), b"a"),
        ({"x-forwarded-host": "a\x01b"}, ("127.0.0.1", 8000), b"inside:8000"),
        ({"x-forwarded-port": "nope"}, ("127.0.0.1", 8000), b"inside:8000"),
    ],
)
def test_host_and_port_on_request(headers: dict[str, str], server: tuple[str, int], value: bytes):
    names = "x-forwarded-host,x-forwarded-port,x-forwarded-proto"
    scope = through("127.0.0.1", names, *headers.items())
    assert (scope["server"], host(scope)) == (server, [value])


def test_a_websocket_gets_its_own_scheme():
    scope = through("127.0.0.1", "forwarded", ("forwarded", "for=1.1.1.1;proto=https"), kind="websocket")
    assert scope["scheme"] == "wss"
