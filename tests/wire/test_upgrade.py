"""An Upgrade to what is not spoken here is ignored (RFC 9110 7.8): the request is plain HTTP, its body a body."""

from __future__ import annotations

import pytest

from tests.support import Running, Wire

from .conftest import Servers
from .harness import LAST, assert_ended, assert_refused, connect, echo, get, paths, post, wait_for_call

SMUGGLED = get(b"/smuggled")
UPGRADES = [
    b"Connection: Upgrade\r\nUpgrade: foo\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"Connection: keep-alive, Upgrade\r\nUpgrade: foo/2, bar\r\n",
    b"Connection: upgrade\r\nUpgrade: TLS/1.0\r\n",
    b"Connection: upgrade\r\nUpgrade: websocketx\r\n",
    b"Connection: upgrade\r\nUpgrade:\r\n",
    b"Connection: upgrade\r\n",
    b"Upgrade: websocket\r\n",
]
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture
def plain(parser: str, servers: Servers) -> Running:
    return servers(parser, "--ws", "none")


def exchange(server: Running, head: bytes, rest: bytes) -> list[str]:
    """Send the head, wait until the application has begun on it, send the rest; return the calls' paths."""
    with connect(server) as wire:
        wire.send(head)
        if rest:
            wait_for_call(server, wire, lambda call: True)
        wire.send(rest + LAST)
        response = wire.read_response()
        assert echo(response).body == SMUGGLED
        assert (response.status, response.get("upgrade")) == (200, None)
        assert echo(wire.read_response()).scope["path"] == "/last"
        assert_ended(wire)
        return paths(server, wire)


@pytest.mark.parametrize("fields", UPGRADES)
def test_the_body_in_a_later_segment_is_no_request(server: Running, fields: bytes) -> None:
    request = post(SMUGGLED, fields, b"/a")
    assert exchange(server, request[: -len(SMUGGLED)], SMUGGLED) == ["/a", "/last"]


@pytest.mark.parametrize("fields", UPGRADES)
def test_the_body_in_the_same_segment_is_not_lost(server: Running, fields: bytes) -> None:
    assert exchange(server, post(SMUGGLED, fields, b"/a"), b"") == ["/a", "/last"]


@pytest.mark.parametrize("fields", UPGRADES)
def test_a_chunked_body_is_a_body_too(server: Running, fields: bytes) -> None:
    head = get(b"/a", fields + b"Transfer-Encoding: chunked\r\n", method=b"POST")
    rest = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    assert exchange(server, head, rest) == ["/a", "/last"]
    assert exchange(server, head + rest[:10], rest[10:]) == ["/a", "/last"]


@pytest.mark.parametrize("body_apart", [False, True])
def test_a_websocket_is_plain_http_without_a_websocket_implementation(plain: Running, body_apart: bool) -> None:
    request = post(SMUGGLED, WEBSOCKET, b"/a")
    at = len(request) - len(SMUGGLED) if body_apart else len(request)
    assert exchange(plain, request[:at], request[at:]) == ["/a", "/last"]
    plain.wait_for("WARNING.*Unsupported upgrade request")


def test_a_request_of_1_0_upgrades_nothing(wire: Wire, server: Running) -> None:
    """RFC 9110 7.8: a server MUST ignore an Upgrade in an HTTP/1.0 request."""
    response = wire.request(get(b"/a", WEBSOCKET, b"1.0"))
    assert response.status == 200
    assert echo(response).scope["type"] == "http"
    server.wait_for("WARNING.*Unsupported upgrade request. HTTP/1.0 knows none: let the proxy speak HTTP/1.1")


def test_what_follows_an_ignored_upgrade_is_the_next_request(wire: Wire) -> None:
    wire.send(get(b"/a", UPGRADES[0]) + get(b"/b", UPGRADES[0]) + LAST)
    assert [echo(wire.read_response()).scope["path"] for _ in range(3)] == ["/a", "/b", "/last"]
    assert_ended(wire)


def test_rules_hold_after_an_ignored_upgrade(server: Running, wire: Wire) -> None:
    wire.send(post(b"hello", UPGRADES[0], b"/a") + b"GET /b HTTP/1.1\r\n\r\n" + get(b"/c"))
    assert echo(wire.read_response()).body == b"hello"
    assert_refused(wire)
    assert paths(server, wire) == ["/a"]


@pytest.mark.parametrize("fields", UPGRADES)
def test_both_lengths_are_refused_with_an_upgrade_too(server: Running, wire: Wire, fields: bytes) -> None:
    head = get(b"/a", fields + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", method=b"POST")
    wire.send(head + b"0\r\n\r\n" + SMUGGLED)
    assert_refused(wire)
    assert paths(server, wire) == []


def test_the_prior_knowledge_preface_of_http_2_is_refused(server: Running, wire: Wire) -> None:
    wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
    assert_refused(wire)
    assert paths(server, wire) == []
