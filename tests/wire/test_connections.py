"""What happens on one connection: answers in order, kept alive or closed as both sides said, nothing lost."""

from __future__ import annotations

import contextlib
import time

import pytest

from tests.support import Running, Wire

from .conftest import PARSERS, Servers
from .harness import (
    GET,
    LAST,
    ask,
    assert_ended,
    assert_refused,
    body,
    chunked,
    connect,
    echo,
    get,
    journal,
    paths,
    play,
    port_of,
    post,
    release,
    sends,
    start,
    wait_for_call,
)

OK = start(200, (b"content-length", b"2"))

# -- pipelining (9.3.2) --


def test_pipelined_requests_of_every_kind_are_answered_in_order(wire: Wire) -> None:
    requests = [
        ("GET", get(b"/0")),
        ("POST", post(b"one", target=b"/1")),
        ("POST", chunked(b"3\r\ntwo\r\n0\r\nX: y\r\n\r\n", target=b"/2")),
        ("HEAD", get(b"/3", method=b"HEAD")),
        ("PUT", get(b"/4", b"Content-Length: 4\r\n", method=b"PUT") + b"four"),
        ("GET", b"\r\n" + get(b"/5")),
        ("POST", get(b"/6", b"Connection: upgrade\r\nUpgrade: foo\r\nContent-Length: 3\r\n", method=b"POST") + b"six"),
        ("OPTIONS", get(b"*", method=b"OPTIONS")),
        ("GET", get(b"http://other.example/8")),
        ("GET", LAST),
    ]
    wire.send(b"".join(raw for _, raw in requests))
    seen = []
    for method, _ in requests:
        response = wire.read_response(method)
        if method == "HEAD":
            assert response.body == b""
            seen.append((None, None))
        else:
            answer = echo(response)
            seen.append((answer.scope["path"], answer.body))
    assert seen == [
        ("/0", b""),
        ("/1", b"one"),
        ("/2", b"two"),
        (None, None),
        ("/4", b"four"),
        ("/5", b""),
        ("/6", b"six"),
        ("*", b""),
        ("/8", b""),
        ("/last", b""),
    ]
    assert_ended(wire)


def test_a_slow_answer_holds_back_those_behind_it(server: Running, wire: Wire) -> None:
    name = f"slow-{port_of(wire)}"
    wire.send(get(play(("wait", name), ("send", OK), ("send", body(b"ok")))) + get(b"/behind") + LAST)
    wait_for_call(server, wire, lambda call: True)
    assert wire.is_closed(within=0.1) is None
    assert not wire.is_readable()
    release(server, name)
    assert wire.read_response().body == b"ok"
    assert echo(wire.read_response()).scope["path"] == "/behind"
    assert echo(wire.read_response()).scope["path"] == "/last"
    assert_ended(wire)


def test_a_refusal_waits_for_the_answers_before_it(server: Running, wire: Wire) -> None:
    name = f"refusal-{port_of(wire)}"
    first = get(play(("send", start(200)), ("send", body(b"a", True)), ("wait", name), ("send", body(b"b"))))
    wire.send(first + get(b"/second") + b"GET / HTTP/1.1\r\n\r\n" + get(b"/never"))
    wait_for_call(server, wire, lambda call: True)
    release(server, name)
    assert wire.read_response().body == b"ab"
    assert echo(wire.read_response()).scope["path"] == "/second"
    assert_refused(wire)
    assert paths(server, wire) == ["/play", "/second"]


def test_a_thousand_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    for first in range(0, 1_000, 100):
        wire.send(b"".join(get(b"/%d" % number) for number in range(first, first + 100)))
    for number in range(1_000):
        assert echo(wire.read_response()).scope["path"] == f"/{number}"


def test_pipelined_requests_wait_outside_while_one_is_answered(server: Running, wire: Wire) -> None:
    """One slow answer and a client that goes on sending: the server stops reading, so the client's writes block."""
    name = f"outside-{port_of(wire)}"
    wire.send(get(play(("wait", name), ("send", OK), ("send", body(b"ok")))))
    wait_for_call(server, wire, lambda call: True)
    wire.sock.settimeout(0.5)
    sent = 0
    block = get(b"/" + b"a" * 1_000) * 100
    with contextlib.suppress(TimeoutError):
        while sent < 40_000_000:
            sent += wire.sock.send(block)
    assert sent < 40_000_000
    release(server, name)
    assert wire.read_response().body == b"ok"
    assert len(journal(server, wire)) < 5_000


def test_nothing_is_read_after_a_request_that_closes(server: Running, wire: Wire) -> None:
    wire.send(get(b"/a", b"Connection: close\r\n") + get(b"/b"))
    assert echo(wire.read_response()).scope["path"] == "/a"
    assert_ended(wire)
    assert paths(server, wire) == ["/a"]


def test_garbage_after_a_request_that_closes_does_not_spoil_its_answer(server: Running, wire: Wire) -> None:
    wire.send(get(b"/a", b"Connection: close\r\n") + b"\x00garbage" * 1_000)
    assert echo(wire.read_response()).scope["path"] == "/a"
    assert_ended(wire)


# -- keep-alive (9.3) --


def test_one_connection_serves_many_requests(wire: Wire) -> None:
    for number in range(20):
        assert echo(wire.request(get(b"/%d" % number))).scope["path"] == f"/{number}"


def test_empty_lines_between_requests_are_skipped(wire: Wire) -> None:
    for _ in range(5):
        assert wire.request(b"\r\n" + GET).status == 200


def test_an_answer_that_closes_says_so(wire: Wire) -> None:
    response = wire.request(get(fields=b"Connection: close\r\n"))
    assert response.get_all("connection") == [b"close"]
    assert_ended(wire)


def test_an_answer_that_keeps_alive_says_nothing_in_1_1(wire: Wire) -> None:
    assert wire.request(GET).get_all("connection") == []


@pytest.mark.parametrize("value", [b"close", b"Close", b"CLOSE", b"x, close", b"close , x", b"\tclose"])
def test_the_application_may_close(wire: Wire, value: bytes) -> None:
    wire.send(get(sends(start(200, (b"content-length", b"2"), (b"connection", value)), body(b"ok"))) + get(b"/b"))
    response = wire.read_response()
    assert response.body == b"ok"
    assert b"close" in response.connection
    assert_ended(wire)


def test_close_that_is_part_of_another_word_does_not_close(wire: Wire) -> None:
    wire.send(get(sends(start(200, (b"content-length", b"2"), (b"connection", b"closed")), body(b"ok"))) + LAST)
    assert wire.read_response().body == b"ok"
    assert wire.read_response().status == 200


def test_a_client_of_1_0_is_kept_alive_when_it_asks_and_the_length_is_known(wire: Wire) -> None:
    request = get(b"/a", b"Connection: keep-alive\r\n", b"1.0")
    for _ in range(3):
        response = wire.request(request)
        assert echo(response).scope["http_version"] == "1.0"
        assert response.connection == {b"keep-alive"}
    assert wire.request(get(b"/a", version=b"1.0")).connection == {b"close"}
    assert_ended(wire)


def test_a_client_of_1_0_is_not_kept_alive_without_a_length(wire: Wire) -> None:
    wire.send(get(sends(start(), body(b"o", True), body(b"k")), b"Connection: keep-alive\r\n", b"1.0"))
    response = wire.read_response()
    assert (response.framing, response.body) == ("close", b"ok")
    assert response.connection <= {b"close"}
    assert wire.ended == "eof"


def test_close_outweighs_keep_alive(wire: Wire) -> None:
    wire.send(get(b"/a", b"Connection: keep-alive, close\r\n", b"1.0") + get(b"/b"))
    assert wire.read_response().status == 200
    assert_ended(wire)


def test_versions_may_alternate_on_one_connection(wire: Wire) -> None:
    for version, expected in ((b"1.1", "1.1"), (b"1.7", "1.1"), (b"1.0", "1.0"), (b"1.1", "1.1")):
        response = wire.request(get(b"/a", b"Connection: keep-alive\r\n", version))
        assert echo(response).scope["http_version"] == expected


# -- the body that the application did not read --


@pytest.mark.parametrize("size", [1, 1_000, 60_000])
def test_a_small_unread_body_is_passed_over(server: Running, wire: Wire, size: int) -> None:
    wire.send(post(b"x" * size, target=sends(OK, body(b"ok"))) + LAST)
    response = wire.read_response()
    assert (response.body, response.keeps_alive) == (b"ok", True)
    assert echo(wire.read_response()).scope["path"] == "/last"
    assert paths(server, wire) == ["/play", "/last"]


def test_a_small_unread_chunked_body_is_passed_over(server: Running, wire: Wire) -> None:
    wire.send(chunked(b"5\r\nhello\r\n" * 100 + b"0\r\nX: y\r\n\r\n", target=sends(OK, body(b"ok"))) + LAST)
    assert wire.read_response().body == b"ok"
    assert echo(wire.read_response()).scope["path"] == "/last"


def test_an_unread_body_that_comes_later_is_no_request(server: Running, wire: Wire) -> None:
    smuggled = get(b"/smuggled")
    whole = post(smuggled, target=sends(OK, body(b"ok")))
    wire.send(whole[: -len(smuggled)])
    response = wire.read_response()
    assert response.body == b"ok"
    wire.send(smuggled)
    if response.keeps_alive:
        wire.send(LAST)
        assert echo(wire.read_response()).scope["path"] == "/last"
    assert_ended(wire)
    assert "/smuggled" not in paths(server, wire)


def test_a_framing_error_in_an_unread_body_ends_the_connection(server: Running, wire: Wire) -> None:
    wire.send(chunked(b"5\r\nhello\r\n", target=sends(OK, body(b"ok"))))
    assert wire.read_response().body == b"ok"
    wire.send(b"zz\r\n" + get(b"/smuggled"))
    wire.read_until_close()
    assert wire.ended == "eof"
    assert "/smuggled" not in paths(server, wire)


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_an_early_answer_to_a_large_upload_arrives(wire: Wire, expect: bytes) -> None:
    """A client that reads only when all is sent must find the answer, not a reset (9.6)."""
    wire.send(get(sends(start(413, (b"content-length", b"2")), body(b"no")), b"Content-Length: 10000000\r\n" + expect))
    sent = 0
    try:
        while sent < 150_000:
            wire.send(b"x" * 10_000)
            sent += 10_000
    except (BrokenPipeError, ConnectionResetError):
        pytest.fail(f"the connection was reset after {sent} octets of the upload")
    response = wire.read_response()
    assert (response.status, response.body) == (413, b"no")
    assert b"close" in response.connection
    assert_ended(wire)


def test_a_client_that_sends_for_ever_after_an_early_answer_is_cut_off(servers: Servers) -> None:
    """Both parsers at the same time, since it takes some seconds."""
    wires = [connect(servers(parser)) for parser in PARSERS]
    deadline = time.monotonic() + 60
    for wire in wires:
        wire.send(get(sends(start(413, (b"content-length", b"2")), body(b"no")), b"Content-Length: 100000000\r\n"))
    while wires and time.monotonic() < deadline:
        for wire in list(wires):
            try:
                wire.send(b"x" * 1_000)
            except (BrokenPipeError, ConnectionResetError):
                wires.remove(wire)
                wire.close()
        time.sleep(0.01)
    assert not wires


# -- half-closed clients --


def test_a_client_that_has_said_all_gets_its_answer(wire: Wire) -> None:
    wire.send(GET)
    wire.half_close()
    assert wire.read_response().status == 200
    assert_ended(wire)


def test_a_client_that_has_said_all_gets_a_late_answer(server: Running, wire: Wire) -> None:
    name = f"half-{port_of(wire)}"
    steps = [("drain",), ("wait", name), ("send", start()), ("send", body(b"o", True)), ("send", body(b"k"))]
    wire.send(post(b"hello", target=play(*steps)))
    wire.half_close()
    wait_for_call(server, wire, lambda call: call["received"])
    release(server, name)
    assert wire.read_response().body == b"ok"
    assert_ended(wire)
    call = wait_for_call(server, wire)
    assert [message["type"] for message in call["received"]] == ["http.request"]


def test_a_client_that_has_said_all_gets_all_its_pipelined_answers(wire: Wire) -> None:
    wire.send(get(b"/a") + post(b"hello") + get(b"/c"))
    wire.half_close()
    assert [echo(wire.read_response()).body for _ in range(3)] == [b"", b"hello", b""]
    assert_ended(wire)


def test_an_end_in_the_middle_of_a_body_is_a_disconnect(server: Running, wire: Wire) -> None:
    wire.send(get(b"/cut", b"Content-Length: 10\r\n", method=b"POST") + b"hello")
    wire.half_close()
    wire.read_until_close()
    assert wire.ended == "eof"
    call = wait_for_call(server, wire)
    assert call["received"][-1]["type"] == "http.disconnect"


@pytest.mark.parametrize("raw", [b"", b"\r\n", b"GET / HT", GET[:-2]])
def test_an_end_before_a_request_is_whole_calls_nobody(server: Running, wire: Wire, raw: bytes) -> None:
    wire.send(raw)
    wire.half_close()
    answer = wire.read_until_close()
    assert wire.ended == "eof"
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert journal(server, wire) == []


# -- connections that break --


def test_a_reset_while_the_application_works_is_a_disconnect(server: Running) -> None:
    wire = connect(server)
    port = port_of(wire)
    wire.send(get(play(("gone",), ("send", OK), ("send", body(b"ok")))))
    wait_for_call(server, port, lambda call: call["received"] or call["outcome"] == "running")
    wire.reset()
    call = wait_for_call(server, port)
    assert call["received"][-1] == {"type": "http.disconnect"}
    assert call["outcome"] == "returned", "a send to a client that has left is ignored"
    assert call["sent"] == [None, None]


def test_a_reset_in_the_middle_of_a_body_is_a_disconnect(server: Running) -> None:
    wire = connect(server)
    port = port_of(wire)
    wire.send(get(b"/cut", b"Content-Length: 100\r\n", method=b"POST") + b"hello")
    wait_for_call(server, port, lambda call: call["received"])
    wire.reset()
    assert wait_for_call(server, port)["received"][-1] == {"type": "http.disconnect"}


def test_a_reset_with_requests_in_the_queue_calls_nobody_for_them(server: Running) -> None:
    wire = connect(server)
    port = port_of(wire)
    wire.send(get(play(("gone",))) + get(b"/b") * 5)
    wait_for_call(server, port, lambda call: True)
    wire.reset()
    wait_for_call(server, port)
    assert ask(server, GET).status == 200
    assert paths(server, port) == ["/play"]
