"""Every request of the corpus over a socket: served as it should be, or refused and nothing after it read."""

from __future__ import annotations

import contextlib

import pytest

from tests.support import Running, Wire

from .cases import LIMITS, REFUSED, SMUGGLED, UNDECIDED, VALID, Refused, Valid, hosted
from .harness import GET, LAST, assert_ended, assert_refusal, assert_refused, echo, get, paths, usage


def named(cases: list) -> list:  # type: ignore[type-arg]
    return [pytest.param(case, id=case.name.encode("ascii", "backslashreplace").decode()) for case in cases]


@pytest.mark.parametrize("case", named(VALID))
def test_a_valid_request_is_served(wire: Wire, case: Valid) -> None:
    wire.send(case.raw)
    response = wire.read_response(case.method)
    seen = echo(response)
    assert seen.body == case.body
    assert seen.types[-1] == "http.request"
    assert {key: seen.scope.get(key) for key in case.scope} == case.scope
    if case.headers is not None:
        assert seen.headers == case.headers
    if case.closes:
        assert b"close" in response.connection
        assert_ended(wire)
    else:
        assert response.keeps_alive
        wire.send(LAST)
        assert echo(wire.read_response()).scope["path"] == "/last"
        assert_ended(wire)


@pytest.mark.parametrize("case", named(REFUSED))
def test_a_bad_request_is_refused_and_nothing_after_it_is_read(server: Running, wire: Wire, case: Refused) -> None:
    wire.send(case.raw + SMUGGLED)
    assert_refused(wire, case.status)
    assert "/smuggled" not in paths(server, wire)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (hosted(b"X : a\r\n").replace(b"GET", b"HEAD"), 400),
        (b"HEAD / HTTP/1.1\r\nX: a\nY: b", 400),  # refused before it has ended
        (get(b"/", b"Expect: more\r\n", method=b"HEAD"), 417),
        (b"\r\n" + get(b"/" + b"a" * 9000, method=b"HEAD"), 414),
    ],
)
def test_the_refusal_of_a_request_of_head_has_no_content(wire: Wire, raw: bytes, status: int) -> None:
    """RFC 9110 9.3.2."""
    wire.send(raw)
    response = wire.read_response("HEAD")
    assert (response.status, response.get("connection")) == (status, b"close")
    assert response.get("content-length") != b"0"
    assert_ended(wire)


@pytest.mark.parametrize("raw", UNDECIDED, ids=range(len(UNDECIDED)))
def test_what_the_rfc_leaves_open_is_served_or_refused_cleanly(server: Running, wire: Wire, raw: bytes) -> None:
    wire.send(raw + LAST)
    response = wire.read_response()
    if response.status == 200:
        assert echo(response).scope["path"] != "/last"
        assert_ended_after_last(wire, response.keeps_alive)
    else:
        assert_refusal(response, response.status)
        assert 400 <= response.status < 500
        assert_ended(wire)
        assert "/last" not in paths(server, wire)


def assert_ended_after_last(wire: Wire, keeps_alive: bool) -> None:
    if keeps_alive:
        assert echo(wire.read_response()).scope["path"] == "/last"
    assert_ended(wire)


@pytest.mark.parametrize("case", named([case for case in REFUSED if case.raw.startswith((b"GET", b"POST"))][::7]))
def test_a_bad_request_behind_a_good_one_is_refused_behind_its_answer(wire: Wire, case: Refused) -> None:
    wire.send(GET + get(b"/second") + case.raw + SMUGGLED)
    assert echo(wire.read_response()).scope["path"] == "/"
    assert echo(wire.read_response()).scope["path"] == "/second"
    assert_refused(wire, case.status)


@pytest.mark.parametrize("case", named(LIMITS))
def test_a_limit_is_met_before_the_head_ends(wire: Wire, case: Refused) -> None:
    """A client that never ends its head must not grow the server: the refusal comes as soon as the limit is passed."""
    wire.send(case.raw[: -2 if "fields" in case.name else -4])
    assert_refused(wire, case.status)


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

ENDLESS = pytest.mark.parametrize(
    ("head", "piece", "status"),
    [
        pytest.param(b"GET /", b"a", 414, id="target"),
        pytest.param(b"GET /?", b"a", 414, id="query"),
        pytest.param(b"", b"A", 414, id="method"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"v", 431, id="value"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX:", b" ", 431, id="blanks"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", b"X", 431, id="name"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: v\r\n", 431, id="number"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: %b\r\n" % (b"v" * 4_000), 431, id="head"),
        pytest.param(b"", b"\r\n", 400, id="empty lines"),
        pytest.param(CHUNKED + b"1;", b"x", 400, id="extension"),
        pytest.param(CHUNKED + b"", b"0", 400, id="size"),
        pytest.param(CHUNKED + b"0\r\n", b"X: v\r\n", 400, id="trailers"),
        pytest.param(CHUNKED + b"0\r\nX: ", b"v", 400, id="trailer"),
    ],
)  # fmt: skip


@ENDLESS
def test_what_has_no_end_is_refused_and_the_refusal_arrives(wire: Wire, head: bytes, piece: bytes, status: int) -> None:
    wire.send(head)
    for _ in range(10):
        wire.send(piece * (10_000 // len(piece)))
    assert_refused(wire, status)


@ENDLESS
def test_what_has_no_end_is_not_read_to_the_end(
    server: Running, wire: Wire, head: bytes, piece: bytes, status: int
) -> None:
    """A client that goes on sending is cut off at some time; whether it sees the refusal is up to the network."""
    before = usage(server)["rss"]
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        wire.send(head)
        for _ in range(800):
            wire.send(piece * (16_000 // len(piece)))
    assert wire.is_closed()
    assert usage(server)["rss"] < before + 6_000
