"""Known attacks, as their finders sent them: in one segment, and with every piece in a segment of its own.

The corpus holds their elements one by one; here they stand as a whole, with the request that they try to smuggle.
"""

from __future__ import annotations

import contextlib
import re
import time

import pytest

from tests.support import Running, Wire

from .conftest import Servers
from .harness import (
    GET,
    HOST,
    ask,
    assert_ended,
    body,
    chunked,
    connect,
    cpu_seconds,
    echo,
    get,
    paths,
    play,
    post,
    sends,
    start,
    wait_for_call,
)

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: example.org\r\n\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
TE = b"Transfer-Encoding: chunked\r\n"
OK = start(200, (b"content-length", b"2"))


def cl(number: int) -> bytes:
    return b"Content-Length: %d\r\n" % number


INNER = b"0\r\n\r\n" + SMUGGLED
ATTACKS: dict[str, bytes] = {
    # -- which length is the right one --
    "CL.TE": POST + cl(len(INNER)) + TE + b"\r\n" + INNER,
    "TE.CL": POST + TE + cl(4) + b"\r\n" + b"2c\r\n" + SMUGGLED + b"\r\n0\r\n\r\n",
    "TE.TE, the second unknown": POST + TE + b"Transfer-Encoding: x\r\n" + cl(5) + b"\r\n" + INNER,
    "TE.TE, the second in capitals": POST + TE + b"TRANSFER-ENCODING: identity\r\n\r\n" + INNER,
    "CL.CL": POST + cl(0) + cl(len(SMUGGLED)) + b"\r\n" + SMUGGLED,
    "CL.CL in a list": POST + b"Content-Length: 0, %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "CL.0 of a GET with both": b"GET / HTTP/1.1\r\n" + HOST + cl(5) + TE + b"\r\n" + INNER,
    "CVE-2024-1135: a list of codings": POST + b"Transfer-Encoding: chunked, gzip\r\n" + cl(5) + b"\r\n" + INNER,
    "CVE-2024-6827: TE,TE": POST + b"Transfer-Encoding: chunked,gzip\r\n\r\n" + INNER,
    "VT before the coding": POST + b"Transfer-Encoding:\x0bchunked\r\n" + cl(5) + b"\r\n" + INNER,
    "no-break space behind the coding": POST + b"Transfer-Encoding: chunked\xa0\r\n" + cl(5) + b"\r\n" + INNER,
    "coding behind LF": POST + b"X: y\nTransfer-Encoding: chunked\r\n" + cl(5) + b"\r\n" + INNER,
    "coding behind CR": POST + b"X: y\rTransfer-Encoding: chunked\r\n" + cl(5) + b"\r\n" + INNER,
    "coding behind a fold": POST + b"Transfer-Encoding:\r\n chunked\r\n" + cl(5) + b"\r\n" + INNER,
    "coding with a blank before the colon": POST + b"Transfer-Encoding : chunked\r\n" + cl(5) + b"\r\n" + INNER,
    "coding with NUL in its name": POST + b"Transfer-Encoding\x00: chunked\r\n" + cl(5) + b"\r\n" + INNER,
    "coding in 1.0": b"POST / HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n" + TE + b"\r\n" + INNER,
    "length with a plus": POST + b"Content-Length: +%d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "length over 64 bits": POST + b"Content-Length: 18446744073709551621\r\n\r\nhello" + SMUGGLED,
    "length in other digits": POST + "Content-Length: ٤\r\n\r\n".encode() + SMUGGLED,
    "length behind a fold": POST + b"X: y\r\n Content-Length: 0\r\n" + cl(len(SMUGGLED)) + b"\r\n" + SMUGGLED,
    # -- where a chunk ends --
    "CVE-2025-43859: two octets for CR LF": POST + TE + b"\r\n5\r\nAAAAAXX2\r\n45\r\n0\r\n\r\n" + SMUGGLED,
    "CVE-2025-43859: CR and another": POST + TE + b"\r\n5\r\nAAAAA\rX2\r\n45\r\n0\r\n\r\n" + SMUGGLED,
    "TERM.EXT: LF in an extension": POST + TE + b"\r\n2;\nxx\r\n4c\r\n0\r\n\r\n" + SMUGGLED + b"0\r\n\r\n",
    "EXT.TERM: CR in an extension": POST + TE + b"\r\n2;\rxx\r\n0\r\n\r\n" + SMUGGLED,
    "TERM.SPILL: nothing behind a chunk": POST + TE + b"\r\n5\r\nAAAAA2e\r\n0\r\n\r\n" + SMUGGLED,
    "SPILL.TERM: a chunk that is too long": POST + TE + b"\r\n5\r\nAAAAAXX\r\n0\r\n\r\n" + SMUGGLED,
    "size over 64 bits": POST + TE + b"\r\n10000000000000005\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "size with a sign": POST + TE + b"\r\n+5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "CVE-2023-38697: size with 0x": POST + TE + b"\r\n0x5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "size with an underscore": POST + TE + b"\r\n0_5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "end of the body in LF": POST + TE + b"\r\n0\n\n" + SMUGGLED,
    "trailer without a colon": POST + TE + b"\r\n0\r\n" + SMUGGLED,
    "trailer behind a fold": POST + TE + b"\r\n0\r\nX: y\r\n " + SMUGGLED,
    # -- where the head ends --
    "head that ends in LF": b"POST / HTTP/1.1\r\n" + HOST + cl(len(SMUGGLED)) + b"\n" + SMUGGLED,
    "head that ends in LF LF": b"POST / HTTP/1.1\n" + b"Host: a\n" + b"\n" + SMUGGLED,
    "head that ends in CR CR": b"GET / HTTP/1.1\r\n" + HOST[:-2] + b"\r\r" + SMUGGLED,
    "NUL before the end": b"GET / HTTP/1.1\r\n" + HOST + b"X: y\x00\r\n\r\n" + SMUGGLED,
    "two request lines": b"GET / HTTP/1.1\r\nGET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n",
    # -- who is asked --
    "two Hosts": b"GET / HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n" + SMUGGLED,
    "Host behind a fold": b"GET / HTTP/1.1\r\nX: y\r\n Host: evil.example\r\n\r\n" + SMUGGLED,
    "Host with userinfo": b"GET / HTTP/1.1\r\nHost: example.org:80@evil.example\r\n\r\n" + SMUGGLED,
    "Host with a path": b"GET / HTTP/1.1\r\nHost: evil.example/?\r\n\r\n" + SMUGGLED,
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("apart", [False, True], ids=["one segment", "a segment a line"])
def test_an_attack_is_refused_and_smuggles_nothing(server: Running, wire: Wire, name: str, apart: bool) -> None:
    raw = ATTACKS[name]
    if apart:
        for piece in re.findall(rb"[^\n]*\n|[^\n]+$", raw):
            try:
                wire.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
            time.sleep(0.001)
    else:
        wire.send(raw)
    response = wire.read_response()
    assert response.status == 400
    assert_ended(wire)
    assert "/smuggled" not in paths(server, wire)


def test_0_cl_a_body_promised_and_not_sent(server: Running, wire: Wire) -> None:
    """The early answer to an upload that never comes: the next bytes are its body, not a request."""
    wire.send(get(sends(OK, body(b"ok")), b"Content-Length: %d\r\n" % len(SMUGGLED), method=b"POST"))
    response = wire.read_response()
    assert response.body == b"ok"
    wire.send(SMUGGLED)
    if response.keeps_alive:
        wire.send(get(b"/after"))
        assert echo(wire.read_response()).scope["path"] == "/after"
    assert "/smuggled" not in paths(server, wire)


def test_0_cl_with_an_expectation(server: Running, wire: Wire) -> None:
    expect = b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(SMUGGLED)
    wire.send(get(sends(OK, body(b"ok")), expect, method=b"POST") + SMUGGLED + get(b"/after"))
    response = wire.read_response()
    assert response.body == b"ok"
    wire.read_until_close() if not response.keeps_alive else None
    assert "/smuggled" not in paths(server, wire)


def test_names_with_underscores_are_themselves(wire: Wire) -> None:
    """They are no Content-Length; WSGI cannot tell them apart, this server does not make them alike."""
    request = get(b"/", b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\n")
    assert echo(wire.request(request)).headers[1:] == [(b"content_length", b"5"), (b"transfer_encoding", b"chunked")]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(chunked(b"1;" + b"a" * 10 + b"\r\nx\r\n" * 10_000), id="CVE-2023-39326: short extensions"),
        pytest.param(chunked((b"1;" + b"a" * 1_000 + b"\r\nx\r\n") * 1_000), id="CVE-2023-39326: long extensions"),
        pytest.param(chunked(b"0" * 100_000), id="zeros before a size"),
        pytest.param(chunked(b"0\r\n" + b"a: b\r\n" * 100_000), id="a flood of trailers"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 40_000, id="a flood of fields"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 40_000, id="a flood of empty fields"),
        pytest.param(b"GET /" + b"%41" * 100_000, id="a flood of escapes"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: " + b"a," * 100_000, id="a long Host"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: " + b"a," * 8_000 + b"\r\n" * 2, id="a long Connection"
        ),
        pytest.param(b"\r\n" * 200_000, id="a flood of empty lines"),
        pytest.param(b"\x00" * 400_000, id="zeros"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"a: " + b"\t" * 8_000 + b"b\r\n") * 8, id="a flood of blanks"
        ),
    ],
)
def test_a_flood_is_answered_at_once_and_costs_others_nothing(server: Running, raw: bytes) -> None:
    with connect(server) as wire:
        before = cpu_seconds(server)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(raw)
        wire.half_close()
        assert ask(server, GET).status == 200
        wire.read_until_close()
        assert cpu_seconds(server) - before < 4


def test_one_octet_segments_cost_others_nothing(parser: str, servers: Servers) -> None:
    """A head of 16 KiB, octet by octet, from some connections at once, however long that takes."""
    server = servers(parser, "--timeout-request-header", "600")
    raw = get(b"/slow", b"X: " + b"v" * 7_000 + b"\r\nY: " + b"v" * 7_000 + b"\r\n")
    before = cpu_seconds(server)
    wires = [connect(server) for _ in range(3)]
    for at in range(len(raw)):
        for wire in wires:
            wire.send(raw[at : at + 1])
    for wire in wires:
        assert wire.read_response().status == 200
        wire.close()
    assert cpu_seconds(server) - before < 9


def test_one_mistaken_handler_spoils_no_other_answer(playground: Running) -> None:
    """The application's answer is longer or shorter than it said: nothing of the next answer is taken for it."""
    for said, sent in ((b"3", b"helloEXCESS"), (b"20", b"hello"), (b"0", b"hello")):
        with connect(playground) as wire:
            wire.send(get(sends(start(200, (b"content-length", said)), body(sent))) + get(b"/next"))
            answer = wire.read_until_close()
            assert b"EXCESS" not in answer
            assert b"/next" not in answer
            assert "/next" not in paths(playground, wire)


def test_a_response_cannot_be_split(playground: Running) -> None:
    evil = b"x\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    for header in ((b"location", evil), (evil, b"x"), (b"set-cookie", b"a\nb"), (b"content-length", b"2\r\nX: y")):
        with connect(playground) as wire:
            wire.send(get(sends(start(302, header), body(b""))))
            answer = wire.read_until_close()
            assert b"evil" not in answer
            assert answer.startswith(b"HTTP/1.1 500 ")
            assert answer.count(b"HTTP/1.1") == 1


def test_an_application_that_exits_does_not_end_the_server(playground: Running) -> None:
    for code in (0, 1, 3, 4):
        assert ask(playground, get(play(("raise", "SystemExit", code)))).status == 500
    assert ask(playground, GET).status == 200


def test_slow_clients_do_not_keep_others_waiting(server: Running) -> None:
    slow = [connect(server) for _ in range(200)]
    try:
        for wire in slow:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-")
        before = cpu_seconds(server)
        for _ in range(20):
            assert ask(server, GET).status == 200
        assert cpu_seconds(server) - before < 3
        for wire in slow[::20]:
            assert wire.request(b"a: b\r\n\r\n").status == 200
    finally:
        for wire in slow:
            wire.close()


def test_a_body_that_follows_a_bodiless_method_is_that_requests_body(wire: Wire) -> None:
    for method in (b"GET", b"DELETE", b"OPTIONS", b"TRACE"):
        wire.send(get(b"/", b"Content-Length: %d\r\n" % len(SMUGGLED), method=method) + SMUGGLED)
        assert echo(wire.read_response()).body == SMUGGLED


def test_the_call_of_a_refused_body_ends(server: Running, wire: Wire) -> None:
    wire.send(post(b"")[:-2] + TE + b"\r\n5\r\nhelloXX" + SMUGGLED)
    wire.read_until_close()
    for call in (wait_for_call(server, wire),) if paths(server, wire) else ():
        assert call["received"][-1] == {"type": "http.disconnect"}
