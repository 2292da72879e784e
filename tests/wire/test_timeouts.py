"""Every timeout: a client that is too slow is let go, one that is slow but moves is not.

No limit is met early; how late it is met depends on the machine, and is waited for with `SLACK`. Clocks start before
what starts the server's clock, never behind it: a client may be held up between the two.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Certificates
from tests.support import Running, Wire

from .conftest import PARSERS, Servers
from .harness import (
    GET,
    assert_ended,
    assert_refusal,
    body,
    chunked,
    connect,
    echo,
    get,
    play,
    port_of,
    post,
    sends,
    start,
    wait_for_call,
)

LIMIT = 2.0
KEEP_ALIVE = 2.0
WRITE = 2.0
SLACK = 30
OK = start(200, (b"content-length", b"2"))


@pytest.fixture
def hasty(parser: str, servers: Servers) -> Running:
    options = {"request-header": LIMIT, "request-body": LIMIT, "write": WRITE, "keep-alive": int(KEEP_ALIVE)}
    return servers(parser, *(word for name, value in options.items() for word in (f"--timeout-{name}", str(value))))


def together(*jobs: Callable[[], Any]) -> None:
    """Run the jobs at the same time, each in a thread; raises the first failure."""
    failures: list[BaseException] = []

    def run(job: Callable[[], Any]) -> None:
        try:
            job()
        except BaseException as error:
            error.add_note(f"in {job.__name__}")
            failures.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def ends_after(wire: Wire, limit: float, since: float) -> bytes:
    """What arrives until the end of the connection, which comes `limit` seconds after `since`, and not by a reset."""
    answer = wire.read_until_close(limit + SLACK)
    took = time.monotonic() - since
    assert wire.ended == "eof"
    assert took >= limit * 0.9, f"after {took:.2f} s"
    return answer


def times_out(wire: Wire, limit: float, since: float) -> None:
    """A 408, and the end."""
    response = wire.read_response(timeout=limit + SLACK)
    assert time.monotonic() - since >= limit * 0.9
    assert_refusal(response, 408)
    assert response.reason == "Request Timeout"
    assert_ended(wire)


def test_a_head_that_does_not_come(hasty: Running) -> None:
    def nothing_at_all() -> None:
        since = time.monotonic()
        with connect(hasty) as wire:
            assert ends_after(wire, LIMIT, since) == b""

    def half_a_line() -> None:
        with connect(hasty) as wire:
            since = time.monotonic()
            wire.send(b"GET / HT")
            times_out(wire, LIMIT, since)

    def half_a_head() -> None:
        with connect(hasty) as wire:
            since = time.monotonic()
            wire.send(GET[:-2])
            times_out(wire, LIMIT, since)

    def one_octet_after_the_other() -> None:
        """The limit is for the whole head: octets do not put it off."""
        with connect(hasty) as wire:
            since = time.monotonic()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                while not wire.is_readable() and time.monotonic() < since + LIMIT + SLACK:
                    wire.send(b"a")
                    time.sleep(0.05)
            assert wire.is_readable()
            times_out(wire, LIMIT, since)

    def the_second_of_a_connection() -> None:
        with connect(hasty) as wire:
            assert wire.request(GET).status == 200
            since = time.monotonic()
            wire.send(b"GET / HT")
            times_out(wire, LIMIT, since)

    def an_octet_ends_no_more_than_the_idle_time() -> None:
        """It starts the clock of the head: a connection cannot be held by one octet."""
        with connect(hasty) as wire:
            assert wire.request(GET).status == 200
            since = time.monotonic()
            wire.send(b"\r")
            wire.read_until_close(KEEP_ALIVE + LIMIT + SLACK)
            assert time.monotonic() - since >= LIMIT * 0.9

    def behind_a_slow_answer() -> None:
        """The clock of a head must not end the answer before it."""
        with connect(hasty) as wire:
            wire.send(get(play(("sleep", LIMIT * 1.5), ("send", OK), ("send", body(b"ok")))) + b"GET /b HT")
            assert wire.read_response().body == b"ok"
            response = wire.read_response()
            assert_refusal(response, 408)
            assert_ended(wire)

    def in_time() -> None:
        with connect(hasty) as wire:
            wire.send(GET[:10])
            time.sleep(LIMIT / 5)
            wire.send(GET[10:])
            assert wire.read_response().status == 200

    together(
        nothing_at_all,
        half_a_line,
        half_a_head,
        one_octet_after_the_other,
        the_second_of_a_connection,
        an_octet_ends_no_more_than_the_idle_time,
        behind_a_slow_answer,
        in_time,
    )


def test_a_body_that_does_not_come(hasty: Running) -> None:
    def the_rest_is_missing() -> None:
        with connect(hasty) as wire:
            since = time.monotonic()
            wire.send(post(b"hello world", target=b"/a")[:-3])
            times_out(wire, LIMIT, since)
            assert wait_for_call(hasty, wire)["received"][-1] == {"type": "http.disconnect"}

    def all_of_it_is_missing() -> None:
        with connect(hasty) as wire:
            since = time.monotonic()
            wire.send(get(b"/a", b"Content-Length: 5\r\n", method=b"POST"))
            times_out(wire, LIMIT, since)
            assert wait_for_call(hasty, wire)["received"] == [{"type": "http.disconnect"}]

    def after_100_continue() -> None:
        with connect(hasty) as wire:
            since = time.monotonic()
            wire.send(get(b"/a", b"Expect: 100-continue\r\nContent-Length: 5\r\n", method=b"POST"))
            assert wire.read_exactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            times_out(wire, LIMIT, since)

    def a_chunk_is_missing() -> None:
        with connect(hasty) as wire:
            since = time.monotonic()
            wire.send(chunked(b"5\r\nhello\r\n", target=b"/a"))
            times_out(wire, LIMIT, since)

    def trailers_without_end() -> None:
        with connect(hasty) as wire:
            wire.send(chunked(b"5\r\nhello\r\n0\r\n", target=b"/a"))
            response = wire.read_response(timeout=LIMIT + SLACK)
            assert_refusal(response, 408)

    def behind_a_begun_answer() -> None:
        with connect(hasty) as wire:
            since = time.monotonic()
            target = play(("send", start()), ("send", body(b"begun", True)), ("gone",))
            wire.send(get(target, b"Content-Length: 5\r\n", method=b"POST"))
            answer = ends_after(wire, LIMIT, since)
            assert answer.count(b"HTTP/1.1") == 1
            assert not answer.endswith(b"0\r\n\r\n")
            assert wait_for_call(hasty, wire)["received"][-1] == {"type": "http.disconnect"}

    def slow_but_moving() -> None:
        with connect(hasty) as wire:
            wire.send(get(b"/a", b"Content-Length: 12\r\n", method=b"POST"))
            for _ in range(12):
                time.sleep(LIMIT / 8)
                wire.send(b"x")
            assert echo(wire.read_response()).body == b"x" * 12

    def while_the_application_does_not_wait() -> None:
        """The clock runs only in receive(): what the application's own work takes is no fault of the client."""
        with connect(hasty) as wire:
            target = play(("sleep", LIMIT * 1.5), ("drain",), ("send", OK), ("send", body(b"ok")))
            wire.send(get(target, b"Content-Length: 5\r\n", method=b"POST") + b"hel")
            time.sleep(LIMIT * 1.5)
            wire.send(b"lo")
            assert wire.read_response().body == b"ok"

    def while_the_application_works() -> None:
        with connect(hasty) as wire:
            wire.send(
                post(b"hello", target=play(("drain",), ("sleep", LIMIT * 1.5), ("send", OK), ("send", body(b"ok"))))
            )
            assert wire.read_response().body == b"ok"

    def while_the_application_waits_for_the_disconnect() -> None:
        """receive() after the whole body is no wait for a body."""
        with connect(hasty) as wire:
            wire.send(get(play(("send", start()), ("send", body(b"begun", True)), ("gone",))))
            assert wire.is_closed(within=LIMIT * 1.5) is None

    def left_unread() -> None:
        with connect(hasty) as wire:
            wire.send(get(sends(OK, body(b"ok")), b"Content-Length: 5\r\n", method=b"POST") + b"hel")
            assert wire.read_response().body == b"ok"
            assert wire.read_until_close(KEEP_ALIVE + LIMIT + SLACK) == b""

    together(
        the_rest_is_missing,
        all_of_it_is_missing,
        after_100_continue,
        a_chunk_is_missing,
        trailers_without_end,
        behind_a_begun_answer,
        slow_but_moving,
        while_the_application_does_not_wait,
        while_the_application_works,
        while_the_application_waits_for_the_disconnect,
        left_unread,
    )


def test_idle_connections_are_closed_silently(hasty: Running) -> None:
    def after_one_answer() -> None:
        with connect(hasty) as wire:
            since = time.monotonic()
            assert wire.request(GET).status == 200
            assert ends_after(wire, KEEP_ALIVE, since) == b""

    def after_many() -> None:
        with connect(hasty) as wire:
            for _ in range(5):
                since = time.monotonic()
                assert wire.request(GET).status == 200
                time.sleep(KEEP_ALIVE / 4)
            assert ends_after(wire, KEEP_ALIVE, since) == b""

    def after_an_answer_of_1_0() -> None:
        with connect(hasty) as wire:
            since = time.monotonic()
            assert wire.request(get(b"/", b"Connection: keep-alive\r\n", b"1.0")).status == 200
            assert ends_after(wire, KEEP_ALIVE, since) == b""

    together(after_one_answer, after_many, after_an_answer_of_1_0)


def small_buffers(server: Running) -> Wire:
    """A client whose kernel takes little on its own."""
    return connect(server, receive_buffer=8_192)


def test_a_client_that_does_not_read(hasty: Running) -> None:
    target = play(("send", start()), ("flood", 2_000, 10_000), ("send", body()))

    def stalls() -> None:
        with small_buffers(hasty) as wire:
            since = time.monotonic()
            wire.send(get(target))
            call = wait_for_call(hasty, wire, timeout=WRITE + SLACK)
            assert time.monotonic() - since >= WRITE * 0.9
            assert call["outcome"] == "returned"
            with contextlib.suppress(TimeoutError):
                wire.read_until_close()
            assert wire.ended == "reset"

    def stalls_in_receive() -> None:
        with small_buffers(hasty) as wire:
            message = '("send", {"type": "http.response.body", "body": b"x" * 20_000_000, "more_body": True})'
            wire.send(get(play(("send", start()), message, ("gone",))))
            call = wait_for_call(hasty, wire, timeout=WRITE + SLACK)
            assert call["received"][-1] == {"type": "http.disconnect"}

    def slow_but_moving() -> None:
        with small_buffers(hasty) as wire:
            wire.send(get(target))
            deadline = time.monotonic() + WRITE * 2
            received = 0
            while time.monotonic() < deadline:
                received += len(wire.sock.recv(65_536))
                time.sleep(WRITE / 20)
            while some := wire.sock.recv(1_000_000):
                received += len(some)
                if some.endswith(b"0\r\n\r\n"):
                    break
            assert received > 20_000_000

    together(stalls, stalls_in_receive, slow_but_moving)


def test_the_last_octets_of_a_slow_reader(hasty: Running) -> None:
    """What the application has sent is delivered, though the connection is idle, closing or lingering by then."""

    def read_slowly(wire: Wire, size: int) -> None:
        received = wire.read_exactly(10)
        deadline = time.monotonic() + KEEP_ALIVE + LIMIT + 0.5
        while time.monotonic() < deadline:
            received += wire.read_some()
            time.sleep(0.05)
        received += wire.read_until_close()
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(received.partition(b"\r\n\r\n")[2]) == size
        assert wire.ended == "eof"

    size = 12_000_000
    big = f'("send", {{"type": "http.response.body", "body": b"x" * {size}}})'
    length = (b"content-length", b"%d" % size)

    def kept_alive() -> None:
        with connect(hasty, receive_buffer=100_000) as wire:
            wire.send(get(play(("send", start(200, length)), big)))
            read_slowly(wire, size)

    def closed_by_the_client() -> None:
        with connect(hasty, receive_buffer=100_000) as wire:
            wire.send(get(play(("send", start(200, length)), big), b"Connection: close\r\n"))
            read_slowly(wire, size)

    def closed_by_the_application() -> None:
        with connect(hasty, receive_buffer=100_000) as wire:
            wire.send(get(play(("send", start(200, length, (b"connection", b"close"))), big)))
            read_slowly(wire, size)

    def with_the_connection() -> None:
        with connect(hasty, receive_buffer=100_000) as wire:
            more = big.replace("}", ', "more_body": True}')
            wire.send(get(play(("send", start()), more, ("send", body())), version=b"1.0"))
            read_slowly(wire, size)

    def half_closed() -> None:
        with connect(hasty, receive_buffer=100_000) as wire:
            wire.send(get(play(("send", start(200, length)), big)))
            wire.half_close()
            read_slowly(wire, size)

    def with_more_behind_it() -> None:
        with connect(hasty, receive_buffer=100_000) as wire:
            wire.send(get(play(("send", start(200, length)), big), b"Connection: close\r\n") + GET * 100)
            read_slowly(wire, size)

    together(
        kept_alive,
        closed_by_the_client,
        closed_by_the_application,
        with_the_connection,
        half_closed,
        with_more_behind_it,
    )


def test_zero_turns_a_timeout_off(parser: str, servers: Servers) -> None:
    options = [word for name in ("request-header", "request-body", "write") for word in (f"--timeout-{name}", "0")]
    patient = servers(parser, *options)

    def no_head() -> None:
        with connect(patient) as wire:
            assert wire.is_closed(within=1) is None
            wire.send(GET[:10])
            assert wire.is_closed(within=1) is None
            wire.send(GET[10:])
            assert wire.read_response().status == 200

    def no_body() -> None:
        with connect(patient) as wire:
            wire.send(post(b"hello")[:-2])
            assert wire.is_closed(within=2) is None
            wire.send(b"lo")
            assert echo(wire.read_response()).body == b"hello"

    def no_reading() -> None:
        with small_buffers(patient) as wire:
            wire.send(get(play(("send", start()), ("flood", 500, 10_000), ("send", body()))))
            time.sleep(2)
            assert len(wire.read_response().body) == 5_000_000

    together(no_head, no_body, no_reading)


def test_the_defaults(servers: Servers) -> None:
    """10 s for a head, 5 s idle; both parsers at the same time, since it takes that long."""

    def head(server: Running) -> None:
        with connect(server) as wire:
            since = time.monotonic()
            wire.send(b"GET / HT")
            times_out(wire, 10, since)

    def first_octet(server: Running) -> None:
        since = time.monotonic()
        with connect(server) as wire:
            assert ends_after(wire, 10, since) == b""

    def idle(server: Running) -> None:
        with connect(server) as wire:
            since = time.monotonic()
            assert wire.request(GET).status == 200
            assert ends_after(wire, 5, since) == b""

    jobs = []
    for parser in PARSERS:
        server = servers(parser)
        for job in (head, first_octet, idle):

            def run(job: Callable[[Running], None] = job, server: Running = server) -> None:
                job(server)

            run.__name__ = f"{job.__name__} of {parser}"
            jobs.append(run)
    together(*jobs)


def test_a_tls_handshake_that_does_not_come(
    parser: str, uvicorn: Callable[..., Running], certificates: Certificates
) -> None:
    options = [*certificates.options, "--timeout-tls-handshake", "1"]
    server = uvicorn("app:app", "--http", parser, *options, cwd=Path(__file__).parent)
    since = time.monotonic()
    with connect(server) as silent, connect(server) as halting:
        halting.send(b"\x16\x03\x01\x02\x00")
        assert silent.is_closed(within=SLACK)
        assert halting.is_closed(within=SLACK)
        assert time.monotonic() - since >= 0.9
    with Wire.connect(server, tls=certificates.context()) as wire:
        assert wire.request(GET).status == 200
        assert port_of(wire)
    assert "Traceback" not in server.log
