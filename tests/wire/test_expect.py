"""`Expect: 100-continue` (RFC 9110 10.1.1): answered when the body is wanted, and only then."""

from __future__ import annotations

import pytest

from tests.support import Running, Wire

from .harness import LAST, assert_ended, assert_refused, body, echo, get, paths, play, port_of, release, sends, start

EXPECT = b"Expect: 100-continue\r\nContent-Length: 5\r\n"
OK = start(200, (b"content-length", b"2"))


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue", b"100-CONTINUE"])
def test_the_first_receive_asks_for_the_body(wire: Wire, value: bytes) -> None:
    wire.send(get(b"/", b"Expect: " + value + b"\r\nContent-Length: 5\r\n", method=b"POST"))
    assert wire.read_exactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"hello" + LAST)
    response = wire.read_response()
    assert echo(response).body == b"hello"
    assert response.interim == []
    assert wire.read_response().interim == []


def test_a_chunked_body_is_asked_for(wire: Wire) -> None:
    wire.send(get(b"/", b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", method=b"POST"))
    assert wire.read_exactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"5\r\nhello\r\n0\r\n\r\n")
    assert echo(wire.read_response()).body == b"hello"


def test_nothing_is_sent_before_the_first_receive(server: Running, wire: Wire) -> None:
    name = f"expect-{port_of(wire)}"
    wire.send(get(play(("wait", name), ("drain",), ("send", OK), ("send", body(b"ok"))), EXPECT, method=b"POST"))
    assert wire.is_closed(within=0.1) is None
    assert not wire.is_readable()
    release(server, name)
    assert wire.read_exactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"hello")
    assert wire.read_response().body == b"ok"


def test_an_application_that_answers_first_never_asks(server: Running, wire: Wire) -> None:
    """The client may send the body or not, so the connection cannot be used again without knowing (9.3)."""
    wire.send(get(sends(start(403, (b"content-length", b"2")), body(b"no")), EXPECT, method=b"POST"))
    response = wire.read_response()
    assert (response.status, response.body, response.interim) == (403, b"no", [])
    smuggled = get(b"/smuggled")
    wire.send(smuggled)
    if b"close" in response.connection:
        assert_ended(wire)
    else:
        wire.send(LAST)
        wire.read_until_close()
    assert "/smuggled" not in paths(server, wire)


def test_an_answer_begun_before_the_body_is_read_is_not_interrupted(wire: Wire) -> None:
    steps = [("send", start()), ("send", body(b"a", True)), ("receive",), ("send", body(b"b"))]
    wire.send(get(play(*steps), EXPECT, method=b"POST") + b"hello")
    response = wire.read_response()
    assert (response.body, response.interim) == (b"ab", [])


def test_a_body_that_has_come_is_not_asked_for(wire: Wire) -> None:
    wire.send(get(b"/", EXPECT, method=b"POST") + b"hello")
    response = wire.read_response()
    assert (echo(response).body, response.interim) == (b"hello", [])


def test_no_body_is_not_asked_for(wire: Wire) -> None:
    wire.send(get(b"/", b"Expect: 100-continue\r\n") + LAST)
    response = wire.read_response()
    assert (echo(response).body, response.interim) == (b"", [])
    assert wire.read_response().interim == []


def test_a_client_of_1_0_is_not_asked(wire: Wire) -> None:
    wire.send(get(b"/", EXPECT, b"1.0", b"POST"))
    assert wire.is_closed(within=0.1) is None
    assert not wire.is_readable()
    wire.send(b"hello")
    response = wire.read_response()
    assert (echo(response).body, response.interim) == (b"hello", [])


def test_the_second_request_of_a_connection_is_asked_for_its_own_body(wire: Wire) -> None:
    for _ in range(2):
        wire.send(get(b"/", EXPECT, method=b"POST"))
        assert wire.read_exactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(b"hello")
        assert echo(wire.read_response()).body == b"hello"


def test_the_pipelined_request_behind_is_asked_for_its_body_behind_the_answer(wire: Wire) -> None:
    wire.send(get(b"/first") + get(b"/second", EXPECT, method=b"POST"))
    first = wire.read_response()
    assert (echo(first).scope["path"], first.interim) == ("/first", [])
    assert wire.read_exactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"hello")
    assert echo(wire.read_response()).body == b"hello"


def test_another_expectation_is_refused_before_the_body(server: Running, wire: Wire) -> None:
    wire.send(get(b"/", b"Expect: the-unexpected\r\nContent-Length: 5\r\n", method=b"POST"))
    assert_refused(wire, 417)
    assert paths(server, wire) == []
