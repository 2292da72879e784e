"""X-Forwarded-For and X-Forwarded-Proto over a socket: believed from a trusted peer, and from no other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import Running

from .conftest import Servers
from .harness import ask, connect, echo, get, port_of


def seen(server: Running, fields: bytes) -> tuple[Any, str, Any]:
    with connect(server) as wire:
        scope = echo(wire.request(get(b"/", fields))).scope
        return scope["client"], scope["scheme"], ("127.0.0.1", port_of(wire))


@pytest.mark.parametrize(
    ("fields", "client", "scheme"),
    [
        (b"", None, "http"),
        (b"X-Forwarded-For: 1.2.3.4\r\n", ("1.2.3.4", 0), "http"),
        (b"X-Forwarded-For: 1.2.3.4:5555\r\n", ("1.2.3.4", 5555), "http"),
        (b"X-Forwarded-For: [2001:db8::1]:99\r\n", ("2001:db8::1", 99), "http"),
        (b"X-Forwarded-For: 2001:db8::1\r\n", ("2001:db8::1", 0), "http"),
        (b"X-Forwarded-For: 9.9.9.9, 1.2.3.4\r\n", ("1.2.3.4", 0), "http"),
        (b"X-Forwarded-For: 9.9.9.9, 1.2.3.4, 127.0.0.1\r\n", ("1.2.3.4", 0), "http"),
        (b"X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 1.2.3.4\r\n", ("1.2.3.4", 0), "http"),
        (b"X-Forwarded-For:\r\n", None, "http"),
        (b"X-Forwarded-For: 1.2.3.4,\r\n", ("1.2.3.4", 0), "http"),  # an empty element of a list counts for nothing
        (b"X-Forwarded-Proto: https\r\n", None, "https"),
        (b"x-forwarded-proto:https\r\n", None, "https"),
        (b"X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n", None, "https"),
        (b"X-Forwarded-Proto: https, http\r\n", None, "http"),
        (b"X-Forwarded-Proto: gopher\r\n", None, "http"),
        (b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n", ("1.2.3.4", 0), "https"),
        (b"Forwarded: for=1.2.3.4;proto=https\r\nX-Real-IP: 1.2.3.4\r\n", None, "http"),
    ],
)
def test_a_trusted_proxy_is_believed(server: Running, fields: bytes, client: Any, scheme: str) -> None:
    got_client, got_scheme, peer = seen(server, fields)
    assert (got_client, got_scheme) == (client or peer, scheme)


SPOOFED = b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n"


@pytest.mark.parametrize("options", [("--forwarded-allow-ips", "10.0.0.1"), ("--no-proxy-headers",)])
def test_nobody_else_is_believed(parser: str, servers: Servers, options: tuple[str, ...]) -> None:
    client, scheme, peer = seen(servers(parser, *options), SPOOFED)
    assert (client, scheme) == (peer, "http")


@pytest.mark.parametrize("allowed", ["*", "127.0.0.0/8", "10.0.0.1,127.0.0.1"])
def test_whom_to_trust_may_be_said_in_many_ways(parser: str, servers: Servers, allowed: str) -> None:
    client, scheme, _ = seen(servers(parser, "--forwarded-allow-ips", allowed), SPOOFED)
    assert (client, scheme) == (("1.2.3.4", 0), "https")


def test_all_are_trusted_so_the_first_is_the_client(parser: str, servers: Servers) -> None:
    client, _, _ = seen(servers(parser, "--forwarded-allow-ips", "*"), b"X-Forwarded-For: 9.9.9.9, 1.2.3.4\r\n")
    assert client == ("9.9.9.9", 0)


def test_what_a_proxy_said_of_one_request_is_not_said_of_the_next(server: Running) -> None:
    with connect(server) as wire:
        first = echo(wire.request(get(b"/a", SPOOFED))).scope
        second = echo(wire.request(get(b"/a"))).scope
        third = echo(wire.request(get(b"/a", SPOOFED.replace(b"1.2.3.4", b"5.6.7.8")))).scope
        again = echo(wire.request(get(b"/a", SPOOFED))).scope
        assert (first["client"], first["scheme"]) == (("1.2.3.4", 0), "https")
        assert (second["client"], second["scheme"]) == (("127.0.0.1", port_of(wire)), "http")
        assert third["client"] == ("5.6.7.8", 0)
        assert again["client"] == ("1.2.3.4", 0)


def test_trailers_speak_for_no_proxy(server: Running) -> None:
    request = get(b"/", b"Transfer-Encoding: chunked\r\n", method=b"POST") + b"0\r\n" + SPOOFED + b"\r\n"
    scope = echo(ask(server, request)).scope
    assert scope["client"][0] == "127.0.0.1"
    assert scope["scheme"] == "http"
