"""Every limit (defaults are in the corpus): its option moves it, and the answer names it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import Running, Wire

from .cases import HOST
from .conftest import Servers
from .harness import (
    GET,
    LAST,
    ask,
    assert_ended,
    assert_refused,
    body,
    connect,
    echo,
    get,
    play,
    port_of,
    release,
    start,
)

OK = start(200, (b"content-length", b"2"))
NARROW = (
    "--limit-request-line",
    "200",
    "--limit-request-field-size",
    "300",
    "--limit-request-head",
    "1000",
    "--limit-request-fields",
    "5",
)
WIDE = (
    "--limit-request-line",
    "60000",
    "--limit-request-field-size",
    "60000",
    "--limit-request-head",
    "200000",
    "--limit-request-fields",
    "1000",
)


@pytest.fixture
def narrow(parser: str, servers: Servers) -> Running:
    return servers(parser, *NARROW)


@pytest.fixture
def wide(parser: str, servers: Servers) -> Running:
    return servers(parser, *WIDE)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (get(b"/" + b"a" * 195), 414),
        (get(b"/?" + b"a" * 195), 414),
        (b"A" * 195 + b" / HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (get(fields=b"X: " + b"v" * 300 + b"\r\n"), 431),
        (get(fields=b"X" * 300 + b": v\r\n"), 431),
        (get(fields=b"X: v\r\n" * 5), 431),
        (get(b"/" + b"a" * 150, (b"X: " + b"v" * 270 + b"\r\n") * 4), 431),
    ],
    ids=["target", "query", "method", "value", "name", "number", "head"],
)
def test_a_narrower_limit_refuses(narrow: Running, raw: bytes, status: int) -> None:
    with connect(narrow) as wire:
        wire.send(raw)
        assert_refused(wire, status)
    with connect(narrow) as wire:  # also as the second request of a connection, and octet by octet
        wire.send(GET)
        assert wire.read_response().status == 200
        for octet in raw[:300]:
            wire.send(bytes([octet]))
            if wire.is_readable():
                break
        else:
            wire.send(raw[300:])
        assert_refused(wire, status)


@pytest.mark.parametrize(
    "raw",
    [
        get(b"/" + b"a" * 180),
        get(fields=b"X: " + b"v" * 290 + b"\r\n"),
        get(fields=b"X: v\r\n" * 4),
        get(b"/" + b"a" * 150, (b"X: " + b"v" * 240 + b"\r\n") * 3),
    ],
    ids=["target", "value", "number", "head"],
)
def test_what_is_within_a_limit_is_served_again_and_again(narrow: Running, raw: bytes) -> None:
    """The count begins anew with each request of a connection."""
    with connect(narrow) as wire:
        wire.send(raw * 5 + LAST)
        for _ in range(5):
            assert wire.read_response().status == 200
        assert echo(wire.read_response()).scope["path"] == "/last"


@pytest.mark.parametrize(
    "raw",
    [
        get(b"/" + b"a" * 50_000),
        get(b"/?" + b"a" * 50_000),
        get(fields=b"X: " + b"v" * 50_000 + b"\r\n"),
        get(fields=b"X: v\r\n" * 900),
        get(fields=(b"X: " + b"v" * 40_000 + b"\r\n") * 4),
    ],
    ids=["target", "query", "value", "number", "head"],
)
def test_a_wider_limit_serves(wide: Running, raw: bytes) -> None:
    with connect(wide) as wire:
        wire.send(raw)
        assert wire.read_response().status == 200
        for at in range(0, len(raw), 20_000):
            wire.send(raw[at : at + 20_000])
        assert wire.read_response().status == 200


def test_the_body_is_no_part_of_the_head(narrow: Running) -> None:
    with connect(narrow) as wire:
        wire.send(get(fields=b"Content-Length: 100000\r\n", method=b"POST") + b"x" * 100_000 + LAST)
        assert len(echo(wire.read_response()).body) == 100_000
        assert wire.read_response().status == 200


# -- concurrency, requests, connections --


def hold(server: Running, stack: ExitStack, name: str, number: int) -> list[Wire]:
    """Connections whose requests run until `release(server, name)`."""
    wires = []
    for _ in range(number):
        wire = stack.enter_context(connect(server))
        wire.send(get(play(("mark", name), ("wait", name), ("send", OK), ("send", body(b"ok")))))
        wires.append(wire)
    return wires


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


HERE = Path(__file__).parent


def test_beyond_the_concurrency_limit_the_answer_is_503(
    parser: str, uvicorn: Callable[..., Running], stack: ExitStack
) -> None:
    server = uvicorn("app:app", "--http", parser, "--limit-concurrency", "4", cwd=HERE)
    held = [stack.enter_context(connect(server)) for _ in range(3)]
    for wire in held:
        assert wire.request(GET).status == 200
        wire.send(get(play(("sleep", 1), ("send", OK), ("send", body(b"ok")))))
    with connect(server) as fourth:
        response = fourth.request(GET)
        assert (response.status, response.body) == (503, b"Service Unavailable")
        assert response.get("content-type") == b"text/plain; charset=utf-8"
        assert response.connection == {b"close"}
        assert_ended(fourth)
    server.wait_for("WARNING.*Exceeded concurrency limit")
    for wire in held:
        assert wire.read_response().body == b"ok"
        wire.close()
    deadline = time.monotonic() + 60
    while ask(server, GET).status != 200:
        assert time.monotonic() < deadline, "still refused after the connections were closed"


def test_the_last_allowed_request_is_answered_and_the_server_ends(parser: str, uvicorn: Callable[..., Running]) -> None:
    server = uvicorn("app:app", "--http", parser, "--limit-max-requests", "3", cwd=HERE)
    with connect(server) as wire:
        for _ in range(3):
            response = wire.request(GET)
            assert response.status == 200
        assert wire.is_closed() == "eof"
    assert server.wait() == 0
    assert "Maximum request limit of 3 exceeded" in server.log
    assert "Traceback" not in server.log


def test_requests_that_are_pipelined_beyond_the_limit_are_answered_or_left_whole(
    parser: str, uvicorn: Callable[..., Running]
) -> None:
    server = uvicorn("app:app", "--http", parser, "--limit-max-requests", "3", cwd=HERE)
    with connect(server) as wire:
        wire.send(b"".join(get(b"/%d" % number) for number in range(10)))
        answered = 0
        while wire.is_closed(within=0.2) is None or wire.received:
            response = wire.read_response()
            assert echo(response).scope["path"] == f"/{answered}"
            answered += 1
            if not response.keeps_alive:
                break
        assert answered >= 3
        assert wire.read_until_close() == b""
        assert wire.ended == "eof"
    assert server.wait() == 0


def test_beyond_the_connection_limit_the_oldest_idle_one_makes_room(
    parser: str, uvicorn: Callable[..., Running], stack: ExitStack
) -> None:
    server = uvicorn("app:app", "--http", parser, "--limit-connections", "5", "--timeout-keep-alive", "60", cwd=HERE)
    idle = [stack.enter_context(connect(server)) for _ in range(5)]
    for wire in idle:
        assert wire.request(GET).status == 200
        time.sleep(0.02)  # apart on the loop's clock, which counts milliseconds
    late = stack.enter_context(connect(server))
    assert late.request(GET).status == 200
    assert idle[0].is_closed() == "eof"
    assert sum(wire.is_closed(within=0) is None for wire in idle) == 4


def test_busy_connections_are_not_closed_for_new_ones(
    parser: str, uvicorn: Callable[..., Running], stack: ExitStack
) -> None:
    server = uvicorn("app:app", "--http", parser, "--limit-connections", "3", cwd=HERE)
    helper = stack.enter_context(connect(server))
    assert helper.request(GET).status == 200
    busy = hold(server, stack, "busy", 2)
    for wire in busy:
        port = port_of(wire)
        while not helper.request(get(b"/journal?%d" % port)).body.startswith(b"[{"):
            time.sleep(0.01)  # `wait_for_call` would need one more connection
    waiting = stack.enter_context(connect(server))
    waiting.send(GET)
    # It takes the place of the idle helper, so a fourth one has to wait for the busy ones.
    assert waiting.read_response().status == 200
    assert helper.is_closed() == "eof"
    assert all(wire.is_closed(within=0) is None for wire in busy)
    waiting.request(get(b"/release?busy"))
    for wire in busy:
        assert wire.read_response().body == b"ok"


def test_release_is_seen_by_whoever_waits(server: Running) -> None:
    with connect(server) as wire:
        name = f"seen-{port_of(wire)}"
        wire.send(get(play(("wait", name), ("send", OK), ("send", body(b"ok")))))
        release(server, name)
        assert wire.read_response().body == b"ok"
