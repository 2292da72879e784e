"""Scope and receive() as the ASGI specification (HTTP connection scope 2.3) and users of uvicorn expect them."""

from __future__ import annotations

import pytest

from tests.support import Running, Wire

from .conftest import Servers
from .harness import ask, assert_refused, body, chunked, echo, get, play, port_of, post, release, start, wait_for_call

OK = start(200, (b"content-length", b"2"))
ANSWER = [("send", OK), ("send", body(b"ok"))]


def test_the_whole_scope(server: Running, wire: Wire) -> None:
    scope = echo(wire.request(get(b"/a%20b?c=d", b"X-Y: Z\r\n"))).scope
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", server.port),
        "client": ("127.0.0.1", port_of(wire)),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"c=d",
        "headers": [(b"host", b"example.org"), (b"x-y", b"Z")],
        "state": {},
    }


def test_requests_of_one_connection_share_nothing(server: Running, wire: Wire) -> None:
    first = echo(wire.request(get(b"/a", b"X: 1\r\n"))).scope
    second = echo(wire.request(get(b"/b?c"))).scope
    assert second["headers"] == [(b"host", b"example.org")]
    assert (first["path"], first["query_string"]) == ("/a", b"")
    assert (second["path"], second["query_string"]) == ("/b", b"c")


@pytest.mark.parametrize(
    ("root_path", "target", "path", "raw_path"),
    [
        ("/api", b"/x", "/api/x", b"/api/x"),
        ("/api", b"/api/x", "/api/api/x", b"/api/api/x"),
        ("/api", b"http://example.org/a%20b?c", "/api/a b", b"/api/a%20b"),
    ],
)
def test_the_root_path_is_put_before_the_path(
    parser: str, servers: Servers, root_path: str, target: bytes, path: str, raw_path: bytes
) -> None:
    scope = echo(ask(servers(parser, "--root-path", root_path), get(target))).scope
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == (root_path, path, raw_path)


# -- receive --


def test_a_request_without_a_body_is_one_empty_event(wire: Wire, server: Running) -> None:
    wire.send(get(play(("receive",), *ANSWER)))
    assert wire.read_response().body == b"ok"
    assert wait_for_call(server, wire)["received"] == [{"type": "http.request", "body": b"", "more_body": False}]


def test_pieces_that_arrive_together_are_one_event(wire: Wire, server: Running) -> None:
    wire.send(chunked(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n", target=play(("receive",), *ANSWER)))
    assert wire.read_response().body == b"ok"
    received = wait_for_call(server, wire)["received"]
    assert received == [{"type": "http.request", "body": b"abcdefg", "more_body": False}]


def test_pieces_that_arrive_apart_are_events_apart(wire: Wire, server: Running) -> None:
    wire.send(get(play(("drain",), *ANSWER), b"Content-Length: 6\r\n", method=b"POST"))
    for number, piece in enumerate((b"ab", b"cd", b"ef"), 1):
        wire.send(piece)
        wait_for_call(
            server, wire, lambda call, n=number: b"".join(m["body"] for m in call["received"]) == b"abcdef"[: 2 * n]
        )
    assert wire.read_response().body == b"ok"
    received = [message for message in wait_for_call(server, wire)["received"] if message["body"]]
    assert received == [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"cd", "more_body": True},
        {"type": "http.request", "body": b"ef", "more_body": False},
    ]


def test_what_came_before_the_first_receive_is_one_event(wire: Wire, server: Running) -> None:
    name = f"buffered-{port_of(wire)}"
    wire.send(get(play(("wait", name), ("receive",), *ANSWER), b"Content-Length: 6\r\n", method=b"POST"))
    wait_for_call(server, wire, lambda call: True)
    for piece in (b"ab", b"cd", b"ef"):
        wire.send(piece)
    release(server, name)
    assert wire.read_response().body == b"ok"
    received = wait_for_call(server, wire)["received"]
    assert b"abcdef".startswith(received[0]["body"])


def test_receive_after_the_body_waits_for_the_end(wire: Wire, server: Running) -> None:
    wire.send(get(play(("receive",), ("receive",), *ANSWER)))
    assert wire.is_closed(within=0.1) is None
    port = port_of(wire)
    wire.close()
    call = wait_for_call(server, port)
    assert [message["type"] for message in call["received"]] == ["http.request", "http.disconnect"]


def test_receive_after_the_answer_is_a_disconnect_again_and_again(wire: Wire, server: Running) -> None:
    wire.send(get(play(("receive",), *ANSWER, ("receive",), ("receive",), ("receive",))))
    assert wire.read_response().body == b"ok"
    received = wait_for_call(server, wire)["received"]
    assert received[1:] == [{"type": "http.disconnect"}] * 3


def test_receive_after_an_answer_that_left_the_body_unread_is_a_disconnect(wire: Wire, server: Running) -> None:
    wire.send(post(b"hello", target=play(*ANSWER, ("receive",))))
    assert wire.read_response().body == b"ok"
    assert wait_for_call(server, wire)["received"] == [{"type": "http.disconnect"}]


def test_a_framing_error_in_the_body_is_a_disconnect_and_a_400(wire: Wire, server: Running) -> None:
    wire.send(chunked(b"5\r\nhello\r\n", target=b"/a"))
    wait_for_call(server, wire, lambda call: call["received"])
    wire.send(b"zz\r\n" + get(b"/smuggled"))
    assert_refused(wire)
    call = wait_for_call(server, wire)
    assert call["received"] == [
        {"type": "http.request", "body": b"hello", "more_body": True},
        {"type": "http.disconnect"},
    ]


def test_a_framing_error_behind_a_begun_answer_ends_the_connection(wire: Wire, server: Running) -> None:
    target = play(("send", start()), ("send", body(b"begun", True)), ("gone",))
    wire.send(chunked(b"5\r\nhello\r\n", target=target))
    wait_for_call(server, wire, lambda call: call["received"])
    wire.send(b"zz\r\n" + get(b"/smuggled"))
    answer = wire.read_until_close()
    assert wire.ended == "eof"
    assert answer.count(b"HTTP/1.1") == 1
    assert not answer.endswith(b"0\r\n\r\n")
    assert wait_for_call(server, wire)["received"][-1] == {"type": "http.disconnect"}


def test_a_send_after_a_framing_error_is_ignored(wire: Wire, server: Running) -> None:
    wire.send(chunked(b"zz\r\n", target=play(("gone",), *ANSWER)))
    assert_refused(wire)
    call = wait_for_call(server, wire)
    assert (call["sent"], call["outcome"]) == ([None, None], "returned")


def test_trailers_that_come_late_do_not_change_the_scope(wire: Wire, server: Running) -> None:
    wire.send(chunked(b"5\r\nhello\r\n", b"X: 1\r\n", b"/a"))
    call = wait_for_call(server, wire, lambda call: call["received"])
    before = call["scope"]["headers"]
    wire.send(b"0\r\nAuthorization: admin\r\nX-Forwarded-For: 1.2.3.4\r\nX: 2\r\n\r\n")
    seen = echo(wire.read_response())
    assert seen.headers == before
    assert seen.body == b"hello"
