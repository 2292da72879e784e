"""What the application may put on the wire: well-formed answers with exactly one framing, and never anything else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import Running, Wire
from tests.support.wire import Truncated

from .harness import (
    GET,
    LAST,
    Message,
    assert_ended,
    body,
    connect,
    echo,
    get,
    journal,
    paths,
    play,
    sends,
    start,
    wait_for_call,
)

LENGTH_2 = (b"content-length", b"2")
OK = start(200, LENGTH_2)


@pytest.fixture
def wire(playground: Running) -> Any:
    """The application of these tests makes mistakes."""
    with connect(playground) as wire:
        yield wire


def assert_server_error(wire: Wire) -> None:
    """The server's own 500, and the end."""
    response = wire.read_response()
    assert (response.status, response.body) == (500, b"Internal Server Error")
    assert response.get("content-type") == b"text/plain; charset=utf-8"
    assert response.get("content-length") == b"21"
    assert b"close" in response.connection
    assert_ended(wire)


# -- framing (9112 6) --


def test_a_length_of_the_application_is_kept(wire: Wire) -> None:
    wire.send(get(sends(start(200, (b"Content-Length", b"4")), body(b"ab", True), body(b"cd"))) + LAST)
    response = wire.read_response()
    assert (response.framing, response.body) == ("length", b"abcd")
    assert wire.read_response().status == 200


def test_without_a_length_the_answer_is_chunked(wire: Wire) -> None:
    wire.send(get(sends(start(), body(b"ab", True), body(b"", True), body(b"cd", True), body(b""))) + LAST)
    response = wire.read_response()
    assert (response.framing, response.body) == ("chunked", b"abcd")
    assert wire.read_response().status == 200


def test_an_answer_of_one_message_has_one_framing(wire: Wire) -> None:
    wire.send(get(sends(start(), body(b"ab"))) + LAST)
    response = wire.read_response()
    assert response.framing in ("chunked", "length")
    assert response.body == b"ab"
    assert wire.read_response().status == 200


def test_an_empty_answer_without_a_length(wire: Wire) -> None:
    wire.send(get(sends(start(), body())) + LAST)
    assert wire.read_response().body == b""
    assert wire.read_response().status == 200


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"gzip", b"gzip, chunked", b"identity", b""])
def test_a_coding_of_the_application_is_dropped_and_done_again(wire: Wire, coding: bytes) -> None:
    wire.send(get(sends(start(200, (b"Transfer-Encoding", coding)), body(b"ab", True), body(b"cd"))) + LAST)
    response = wire.read_response()
    assert (response.framing, response.body) == ("chunked", b"abcd")
    assert response.get_all("transfer-encoding") == [b"chunked"]
    assert wire.read_response().status == 200


@pytest.mark.parametrize("order", [1, -1])
def test_length_and_coding_of_the_application_leave_one(wire: Wire, order: int) -> None:
    headers = [(b"content-length", b"4"), (b"transfer-encoding", b"chunked")][::order]
    wire.send(get(sends(start(200, *headers), body(b"ab", True), body(b"cd"))) + LAST)
    assert wire.read_response().body == b"abcd"  # strict about two framings
    assert wire.read_response().status == 200


def test_the_coding_is_never_sent_to_a_client_of_1_0(wire: Wire) -> None:
    wire.send(
        get(sends(start(200, (b"transfer-encoding", b"chunked")), body(b"ab", True), body(b"cd")), version=b"1.0")
    )
    response = wire.read_response()
    assert (response.framing, response.body, response.get("transfer-encoding")) == ("close", b"abcd", None)
    assert wire.ended == "eof"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("headers", [(), ((b"transfer-encoding", b"chunked"),)])
def test_an_answer_that_has_no_body_has_no_framing(wire: Wire, status: int, headers: tuple[Any, ...]) -> None:
    wire.send(get(sends(start(status, *headers), body())) + LAST)
    response = wire.read_response()
    assert (response.status, response.get("transfer-encoding"), response.body) == (status, None, b"")
    assert wire.read_response().status == 200


def test_a_304_may_tell_a_length(wire: Wire) -> None:
    wire.send(get(sends(start(304, (b"content-length", b"10")), body())) + LAST)
    assert wire.read_response().get("content-length") == b"10"
    assert wire.read_response().status == 200


@pytest.mark.parametrize("length", [b"0", b"5"])
def test_a_204_never_tells_a_length(wire: Wire, length: bytes) -> None:
    wire.send(get(sends(start(204, (b"content-length", length)), body())) + LAST)
    response = wire.read_response()  # strict about a length here (9110 8.6)
    assert response.status in (204, 500)
    if response.status == 204:
        assert wire.read_response().status == 200


@pytest.mark.parametrize("status", [204, 304])
def test_a_body_where_none_may_be_never_reaches_the_wire(wire: Wire, status: int) -> None:
    wire.send(get(sends(start(status), body(b"hello"))) + LAST)
    response = wire.read_response()
    assert response.status in (status, 500)
    assert b"hello" not in response.raw + wire.read_until_close()


@pytest.mark.parametrize(
    "messages",
    [
        [OK, body(b"ok")],
        [start(), body(b"o", True), body(b"k")],
        [start(200, (b"transfer-encoding", b"chunked")), body(b"ok")],
        [OK, body()],
        [start(200, (b"content-length", b"100")), body(b"ok")],
        [start(404), body(b"ok")],
    ],
)
def test_an_answer_to_head_has_a_head_alone(wire: Wire, messages: list[Message]) -> None:
    wire.send(get(sends(*messages), method=b"HEAD") + LAST)
    response = wire.read_response("HEAD")
    assert response.get_all("content-length") == [
        value for name, value in messages[0]["headers"] if name.endswith(b"th")
    ]
    assert wire.read_response().status == 200
    assert_ended(wire)


def test_the_length_decides_what_is_too_long(wire: Wire, playground: Running) -> None:
    wire.send(get(sends(start(200, (b"content-length", b"3")), body(b"hello excess"))) + get(b"/next"))
    rest = wire.read_until_close()
    assert b"excess" not in rest
    call = wait_for_call(playground, wire)
    assert call["sent"][1] is not None
    assert "onger than Content-Length" in call["sent"][1]
    assert paths(playground, wire) == ["/play"]


def test_too_long_in_a_second_piece(wire: Wire, playground: Running) -> None:
    wire.send(get(sends(start(200, (b"content-length", b"3")), body(b"hel", True), body(b"EXCESS"))) + get(b"/next"))
    assert wire.read_response().body == b"hel"
    assert_ended(wire)
    assert wait_for_call(playground, wire)["sent"][2] is not None
    assert paths(playground, wire) == ["/play"]


@pytest.mark.parametrize("pieces", [[body(b"hello")], [body(b"hel", True), body(b"lo")], [body(b"hello", True)]])
def test_too_short_is_never_taken_for_whole(wire: Wire, playground: Running, pieces: list[Message]) -> None:
    """A 500 while nothing was written, else the end of the connection."""
    wire.send(get(sends(start(200, (b"content-length", b"30")), *pieces)) + get(b"/next"))
    answer = wire.read_until_close()
    assert wire.ended == "eof"
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.startswith((b"HTTP/1.1 500 ", b"HTTP/1.1 200 "))
    call = wait_for_call(playground, wire)
    if not pieces[-1]["more_body"]:
        assert "horter than Content-Length" in str(call["sent"])
        playground.wait_for("horter than Content-Length")
    assert paths(playground, wire) == ["/play"]


@pytest.mark.parametrize(
    "lengths",
    [(b"2", b"3"), (b"+2",), (b"-1",), (b"2x",), (b"",), (b"2, 3",), (b"0x2",), (b"2.0",), (b"1" * 30,), (b"\xb2",)],
)
def test_a_bad_length_is_refused(wire: Wire, lengths: tuple[bytes, ...]) -> None:
    wire.send(get(sends(start(200, *((b"content-length", value) for value in lengths)), body(b"ok"))) + LAST)
    assert_server_error(wire)


def test_equal_lengths_leave_one(wire: Wire) -> None:
    wire.send(get(sends(start(200, LENGTH_2, LENGTH_2), body(b"ok"))))
    response = wire.read_response()  # strict about two lengths
    assert response.status in (200, 500)


# -- header fields --


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"a b",
        b"a:",
        b"a\r\nb",
        b"a\nb",
        b"a\x00b",
        b"\xe9",
        b"a\x7f",
        b"(a)",
        b" a",
        b"a ",
        b"a\t",
        b"a/b",
        b'"a"',
        b"a\r",
    ],
)
def test_a_bad_name_never_reaches_the_wire(wire: Wire, playground: Running, name: bytes) -> None:
    wire.send(get(sends(start(200, LENGTH_2, (name, b"v")), body(b"ok"))) + get(b"/next"))
    assert_server_error(wire)
    assert journal(playground, wire)[0]["sent"][0] is not None
    assert paths(playground, wire) == ["/play"]


@pytest.mark.parametrize(
    "value",
    [
        b"a\r\nInjected: b",
        b"a\nb",
        b"a\rb",
        b"a\x00b",
        b"a\x01",
        b"\x7f",
        b"a\r\n\r\nHTTP/1.1 200 OK",
        b"\x0b",
        b"a\r\n",
        b"\n",
    ],
)
def test_a_bad_value_never_reaches_the_wire(wire: Wire, playground: Running, value: bytes) -> None:
    wire.send(get(sends(start(200, LENGTH_2, (b"x", value)), body(b"ok"))) + get(b"/next"))
    assert_server_error(wire)
    assert journal(playground, wire)[0]["sent"][0] is not None
    assert paths(playground, wire) == ["/play"]


@pytest.mark.parametrize("value", [b"", b"a\tb", b"\xe9\xff\x80", b"a b", b'"quoted"', b"a" * 2_000, b",;:=()<>@{}[]"])
def test_a_value_goes_out_as_it_is(wire: Wire, value: bytes) -> None:
    wire.send(get(sends(start(200, LENGTH_2, (b"X", value)), body(b"ok"))))
    assert wire.read_response().get("x") == value


@pytest.mark.parametrize("value", [b" a", b"a ", b"\ta", b"a\t", b" "])
def test_blanks_around_a_value_are_no_matter(wire: Wire, value: bytes) -> None:
    """They mean nothing on the wire (9112 5.1)."""
    wire.send(get(sends(start(200, LENGTH_2, (b"x", value)), body(b"ok"))))
    assert wire.read_response().get("x") == value.strip()


def test_the_same_header_over_and_over_is_validated_each_time(wire: Wire) -> None:
    for _ in range(3):
        response = wire.request(get(sends(start(200, LENGTH_2, (b"x", b"good")), body(b"ok"))))
        assert response.get("x") == b"good"
    wire.send(get(sends(start(200, LENGTH_2, (b"x", b"b\nad")), body(b"ok"))))
    assert_server_error(wire)


def test_order_and_duplicates_are_kept(wire: Wire) -> None:
    headers = [(b"x-b", b"1"), (b"x-a", b"2"), (b"set-cookie", b"a"), (b"x-b", b"3"), (b"set-cookie", b"b"), LENGTH_2]
    wire.send(get(sends(start(200, *headers), body(b"ok"))))
    response = wire.read_response()
    assert [header for header in response.headers if header[0] not in (b"date", b"server")] == headers


def test_default_headers_come_first(wire: Wire) -> None:
    wire.send(get(sends(start(200, (b"x", b"y"), LENGTH_2), body(b"ok"))))
    assert [name for name, _ in wire.read_response().headers] == [b"date", b"server", b"x", b"content-length"]


@pytest.mark.parametrize("name", [b"Server", b"server", b"DATE", b"date"])
def test_the_applications_own_replace_the_defaults(wire: Wire, name: bytes) -> None:
    wire.send(get(sends(start(200, (name, b"mine"), LENGTH_2), body(b"ok"))))
    response = wire.read_response()
    assert response.get(name) == b"mine"
    assert {found for found, _ in response.headers} == {b"date", b"server", b"content-length"}


@pytest.mark.parametrize(
    "headers",
    [
        "tuple([(b'x', b'y')])",
        "[[b'x', b'y']]",
        "((name, b'y') for name in [b'x'])",
        "{b'x': b'y'}.items()",
        "[(bytearray(b'x'), bytearray(b'y'))]",
        "[(b'x', memoryview(b'y'))]",
    ],
)
def test_headers_may_be_any_iterable_of_pairs(wire: Wire, headers: str) -> None:
    message = f'("send", {{"type": "http.response.start", "status": 200, "headers": {headers}}})'
    wire.send(get(play(message, ("send", body(b"ok")))) + LAST)
    response = wire.read_response()
    if "bytearray" in headers or "memoryview" in headers:  # not bytes, so these may be refused, but cleanly
        assert response.status in (200, 500)
    else:
        assert (response.status, response.get("x")) == (200, b"y")


def test_headers_body_and_more_body_are_optional(wire: Wire) -> None:
    wire.send(get(sends({"type": "http.response.start", "status": 200}, {"type": "http.response.body"})) + LAST)
    assert wire.read_response().body == b""
    assert wire.read_response().status == 200


@pytest.mark.parametrize("data", ["bytearray(b'ab')", "memoryview(b'ab')", "b'ab'"])
@pytest.mark.parametrize("length", [True, False])
def test_a_body_may_be_any_buffer(wire: Wire, data: str, length: bool) -> None:
    message = f'("send", {{"type": "http.response.body", "body": {data}}})'
    wire.send(get(play(("send", OK if length else start()), message)) + LAST)
    assert wire.read_response().body == b"ab"
    assert wire.read_response().status == 200


# -- status --


@pytest.mark.parametrize("status", [200, 201, 299, 404, 418, 451, 500, 503, 511])
def test_a_status_is_sent_with_its_reason(wire: Wire, status: int) -> None:
    import http

    wire.send(get(sends(start(status, LENGTH_2), body(b"ok"))) + LAST)
    response = wire.read_response()
    assert response.status == status
    if status in {known.value for known in http.HTTPStatus}:
        assert response.reason
    assert wire.read_response().status == 200


@pytest.mark.parametrize("status", [299, 499, 599, 600, 799, 999])
def test_an_unknown_status_has_no_reason(wire: Wire, status: int) -> None:
    wire.send(get(sends(start(status, LENGTH_2), body(b"ok"))) + LAST)
    response = wire.read_response()
    assert (response.status, response.reason) == (status, "")
    assert response.raw.startswith(b"HTTP/1.1 %d \r\n" % status)
    assert wire.read_response().status == 200


@pytest.mark.parametrize("status", [0, -1, 99, 100, 101, 103, 199, 1000, 99999, "200", None, b"200"])
def test_a_bad_status_never_reaches_the_wire(wire: Wire, playground: Running, status: Any) -> None:
    wire.send(get(sends(start(status, LENGTH_2), body(b"ok"))) + get(b"/next"))
    assert_server_error(wire)
    assert journal(playground, wire)[0]["sent"][0] is not None
    assert paths(playground, wire) == ["/play"]


def test_http_status_members_are_numbers(wire: Wire) -> None:
    message = '("send", {"type": "http.response.start", "status": __import__("http").HTTPStatus.CREATED})'
    wire.send(get(play(message, ("send", body(b"ok")))) + LAST)
    response = wire.read_response()
    assert (response.status, response.reason) == (201, "Created")


# -- messages --


BAD_MESSAGES: list[tuple[str, list[Message], str]] = [
    ("body first", [body(b"ok")], "Expected ASGI message 'http.response.start', but got 'http.response.body'."),
    ("unknown first", [{"type": "http.foo"}], "Expected ASGI message 'http.response.start', but got 'http.foo'."),
]


@pytest.mark.parametrize(
    ("messages", "text"), [case[1:] for case in BAD_MESSAGES], ids=[case[0] for case in BAD_MESSAGES]
)
def test_a_wrong_first_message_is_a_500(wire: Wire, playground: Running, messages: list[Message], text: str) -> None:
    wire.send(get(sends(*messages)) + get(b"/next"))
    assert_server_error(wire)
    assert text in journal(playground, wire)[0]["sent"][0]
    assert paths(playground, wire) == ["/play"]


@pytest.mark.parametrize("before", [[], [body(b"o", True)]])
def test_a_second_start_ends_the_connection(wire: Wire, playground: Running, before: list[Message]) -> None:
    wire.send(get(sends(OK, *before, start(404))) + get(b"/next"))
    answer = wire.read_until_close()
    assert answer.startswith(b"HTTP/1.1 200 " if before else b"HTTP/1.1 500 ")
    assert b"404" not in answer
    assert answer.count(b"HTTP/1.1") == 1
    call = wait_for_call(playground, wire)
    assert "Expected ASGI message 'http.response.body', but got 'http.response.start'." in call["sent"][-1]
    assert paths(playground, wire) == ["/play"]


@pytest.mark.parametrize("fields", [b"", b"Connection: keep-alive\r\n"])
def test_an_answer_that_ends_with_its_connection_and_fails_ends_with_a_reset(wire: Wire, fields: bytes) -> None:
    """Nothing else tells a client of 1.0 that there should have been more."""
    wire.send(get(play(("send", start()), ("send", body(b"begun", True)), ("raise", "Oops")), fields, b"1.0"))
    wire.read_until_close()
    assert wire.ended == "reset"


def test_a_message_after_the_end_raises_and_leaves_the_answer_whole(wire: Wire, playground: Running) -> None:
    wire.send(get(sends(OK, body(b"ok"), body(b"more"))))
    assert wire.read_response().body == b"ok"
    call = wait_for_call(playground, wire)
    assert "Unexpected ASGI message 'http.response.body' sent, after response already completed." in call["sent"][2]


def test_headers_may_be_bytearrays(wire: Wire) -> None:
    for value in (b"one", b"two"):
        step = "('send', {'type': 'http.response.start', 'status': 200, 'headers': [(bytearray(b'X'), bytearray(%r))]})"
        wire.send(get(play(step % value, ("send", body(b"ok")))))
        assert wire.read_response().get("x") == value


def test_a_body_of_none_is_an_empty_one(wire: Wire) -> None:
    nothing = {"type": "http.response.body", "body": None, "more_body": True}
    wire.send(get(sends(start(), nothing, body(b"ok"))) + get(sends(start(), {**nothing, "more_body": False})))
    assert [wire.read_response().body, wire.read_response().body] == [b"ok", b""]


@pytest.mark.parametrize("data", ["text", 1, ["list"]])
def test_a_body_of_another_type_raises(wire: Wire, playground: Running, data: Any) -> None:
    wire.send(get(play(("send", OK), ("send", {"type": "http.response.body", "body": data}))) + get(b"/next"))
    answer = wire.read_until_close()
    assert wire.ended == "eof"
    assert answer == b"" or answer.startswith((b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 500 "))
    assert answer.count(b"HTTP/1.1") <= 1
    assert wait_for_call(playground, wire)["sent"][1] is not None


@pytest.mark.parametrize("headers", [None, 5, [b"x"], [(b"x",)], [("x", "y")], [(b"x", 1)], [(b"x", None)], "x"])
def test_headers_of_another_type_are_a_500(wire: Wire, playground: Running, headers: Any) -> None:
    wire.send(get(sends({"type": "http.response.start", "status": 200, "headers": headers}, body(b"ok"))))
    assert_server_error(wire)
    assert wait_for_call(playground, wire)["sent"][0] is not None


@pytest.mark.parametrize(
    "step",
    [
        ("raise", "Oops", "x"),
        ("raise", "SystemExit", 4),
        ("raise", "Cancelled"),
        ("raise", "GeneratorExit"),
        ("return", None),
    ],
)
def test_an_application_that_fails_before_its_answer_is_a_500(wire: Wire, playground: Running, step: Any) -> None:
    wire.send(get(play(step)) + get(b"/next"))
    assert_server_error(wire)
    assert paths(playground, wire) == ["/play"]
    with connect(playground) as other:
        assert other.request(GET).status == 200


@pytest.mark.parametrize("step", [("raise", "Oops", "x"), ("raise", "SystemExit", 4), ("return", None)])
@pytest.mark.parametrize("head", [OK, start()])
def test_an_application_that_fails_inside_its_answer_ends_the_connection(
    wire: Wire, playground: Running, step: Any, head: Message
) -> None:
    wire.send(get(play(("send", head), ("send", body(b"o", True)), step)) + get(b"/next"))
    with pytest.raises(Truncated):
        wire.read_response()
    assert b"500" not in wire.read_until_close()
    assert paths(playground, wire) == ["/play"]


def test_an_application_that_starts_and_ends_gets_an_answer_or_none(wire: Wire, playground: Running) -> None:
    wire.send(get(play(("send", start()))) + get(b"/next"))
    answer = wire.read_until_close()
    assert answer == b"" or b"Internal Server Error" in answer or answer.startswith(b"HTTP/1.1 200")
    assert not answer.endswith(b"0\r\n\r\n"), "it looks like a whole answer"
    playground.wait_for("ASGI callable returned without completing response")
    assert paths(playground, wire) == ["/play"]


def test_an_application_that_fails_after_its_answer_spoils_nothing(wire: Wire, playground: Running) -> None:
    wire.send(get(play(("send", OK), ("send", body(b"ok")), ("raise", "Oops", "late"))))
    assert wire.read_response().body == b"ok"
    playground.wait_for("Oops: late")


def test_a_callable_that_returns_something_is_told_so(wire: Wire, playground: Running) -> None:
    wire.send(get(play(("send", OK), ("send", body(b"ok")), ("return", 42))))
    assert wire.read_response().body == b"ok"
    playground.wait_for("ASGI callable should return None, but returned '42'")


def test_a_good_answer_after_a_caught_mistake(wire: Wire, playground: Running) -> None:
    """A start message that raised was never sent: the application may send another."""
    wire.send(get(play(("try", start(200, (b"a b", b"c"))), ("send", OK), ("send", body(b"ok")))))
    response = wire.read_response()
    assert response.status in (200, 500)
    assert b"a b" not in response.raw


# -- streaming --


def test_what_is_sent_arrives_before_the_end(wire: Wire, playground: Running) -> None:
    wire.send(get(play(("send", start()), ("send", body(b"first", True)), ("gone",))))
    text = b""
    while b"first" not in text:
        some = wire.read_some()
        assert some, text
        text += some
    assert text.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_chunked_body_that_looks_like_framing_is_framed(wire: Wire) -> None:
    data = b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    wire.send(get(sends(start(), body(data, True), body(data))) + LAST)
    assert wire.read_response().body == data * 2
    assert echo(wire.read_response()).scope["path"] == "/last"
