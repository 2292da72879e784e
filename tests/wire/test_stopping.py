"""A server that is told to stop: what has begun is finished, what is on its way is answered, what is idle is closed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import Running, Wire

from .harness import GET, ask, assert_ended, body, connect, echo, get, inquire, play, start, wait_for_call

HERE = Path(__file__).parent
OK = start(200, (b"content-length", b"2"))

Start = Callable[[], Running]


@pytest.fixture
def stopping(parser: str, uvicorn: Callable[..., Running]) -> Running:
    """A server of one's own, so that it can be stopped, and that lets nobody go for being late."""
    late = ["--timeout-keep-alive", "600", "--timeout-request-header", "600", "--timeout-request-body", "600"]
    server = uvicorn("patient:app", "--http", parser, "--no-access-log", *late, cwd=HERE)
    assert ask(server, GET).status == 200
    return server


def stop(server: Running, number: int = signal.SIGTERM) -> None:
    server.signal(number)
    server.wait_for("Shutting down")


def ended_well(server: Running) -> None:
    server.wait()
    assert "Traceback" not in server.log
    assert "Application shutdown complete" in server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_runs_is_answered_and_closes(stopping: Running, number: int) -> None:
    with connect(stopping) as busy, connect(stopping) as fresh:
        busy.send(get(play(("wait", "stop"), ("send", OK), ("send", body(b"ok")))))
        wait_for_call(stopping, busy, lambda call: True)
        stop(stopping, number)
        # The connection that has not asked yet is served for a moment: it lets the other one go on.
        response = fresh.request(get(b"/release?stop"))
        assert (response.body, response.connection) == (b"released", {b"close"})
        assert_ended(fresh)
        response = busy.read_response()
        assert (response.body, response.connection) == (b"ok", {b"close"})
        assert_ended(busy)
    ended_well(stopping)


def test_a_stream_that_has_begun_is_finished(stopping: Running) -> None:
    with connect(stopping) as busy:
        steps = [("send", start()), ("send", body(b"o", True)), ("sleep", 0.5), ("send", body(b"k"))]
        busy.send(get(play(*steps)))
        assert busy.read_some()
        busy.sock.setblocking(True)
        stop(stopping)
        assert busy.read_until_close().endswith(b"1\r\nk\r\n0\r\n\r\n")
        assert busy.ended == "eof"
    ended_well(stopping)


def test_an_upload_that_has_begun_is_taken_to_its_end(stopping: Running) -> None:
    with connect(stopping) as busy:
        busy.send(get(b"/up", b"Content-Length: 10\r\n", method=b"POST") + b"hello")
        wait_for_call(stopping, busy, lambda call: call["received"])
        stop(stopping)
        busy.send(b"world")
        response = busy.read_response()
        assert echo(response).body == b"helloworld"
        assert response.connection == {b"close"}
        assert_ended(busy)
    ended_well(stopping)


def test_idle_connections_are_closed_at_once(stopping: Running) -> None:
    with connect(stopping) as idle:
        assert idle.request(GET).status == 200
        stop(stopping)
        assert_ended(idle)
        ended_well(stopping)


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HT", GET[:-2]])
def test_a_request_that_comes_within_the_grace_is_answered(stopping: Running, sent: bytes) -> None:
    with connect(stopping) as fresh:
        fresh.send(sent)
        inquire(stopping, b"/")  # so that the connection before it is surely accepted, and its octets read
        stop(stopping)
        time.sleep(0.5)
        response = fresh.request((sent or GET)[len(sent) :] if sent == b"" else GET.removeprefix(sent))
        assert response.status == 200
        assert response.connection == {b"close"}
        assert_ended(fresh)
    ended_well(stopping)


def test_a_connection_that_says_nothing_does_not_hold_the_server(stopping: Running) -> None:
    with connect(stopping) as silent, connect(stopping) as partial:
        partial.send(b"GET / HT")
        inquire(stopping, b"/")
        stop(stopping)
        assert silent.read_until_close() == b""
        partial.read_until_close()
        ended_well(stopping)


def test_requests_behind_the_one_that_runs_are_answered(stopping: Running) -> None:
    """They have come: of what is pipelined, the last that is here says close."""
    with connect(stopping) as busy, connect(stopping) as fresh:
        behind = get(b"/1") + get(b"/2", b"Content-Length: 2\r\n", method=b"POST")
        busy.send(get(play(("wait", "stop"), ("send", OK), ("send", body(b"ok")))) + behind + b"hi")
        wait_for_call(stopping, busy, lambda call: True)
        stop(stopping)
        assert fresh.request(get(b"/release?stop")).body == b"released"
        response = busy.read_response()
        assert (response.body, response.keeps_alive) == (b"ok", True)
        response = busy.read_response()
        assert (echo(response).scope["path"], response.keeps_alive) == ("/1", True)
        response = busy.read_response()
        assert (echo(response).scope["path"], echo(response).body, response.connection) == ("/2", b"hi", {b"close"})
        assert_ended(busy)
    ended_well(stopping)


def test_nobody_is_let_in_after_the_stop(stopping: Running) -> None:
    with connect(stopping) as busy:
        busy.send(get(play(("sleep", 1.0), ("send", OK), ("send", body(b"ok")))))
        wait_for_call(stopping, busy, lambda call: True)
        stop(stopping)
        deadline = time.monotonic() + 30
        while True:
            try:
                Wire.connect(stopping).close()
            except ConnectionRefusedError:
                break
            assert time.monotonic() < deadline
        assert busy.read_response().body == b"ok"
    ended_well(stopping)


def test_a_limit_ends_what_does_not_end(parser: str, uvicorn: Callable[..., Running]) -> None:
    server = uvicorn("app:app", "--http", parser, "--timeout-graceful-shutdown", "1", cwd=HERE)
    with connect(server) as busy:
        busy.send(get(play(("send", start()), ("send", body(b"begun", True)), ("sleep", 600))))
        wait_for_call(server, busy, lambda call: len(call["sent"]) == 2)
        began = time.monotonic()
        stop(server)
        busy.read_until_close()
        server.wait()
        assert time.monotonic() - began > 0.5, "it was given no time"
