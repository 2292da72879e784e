"""Neither side can make the server hold what the other does not take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.support import Running, Wire

from .harness import body, chunked, connect, echo, get, play, port_of, release, sends, start, usage, wait_for_call

OK = start(200, (b"content-length", b"2"))
MIB = 1 << 20


@pytest.fixture
def wire(server: Running) -> Iterator[Wire]:
    """A client whose kernel takes little on its own."""
    with connect(server, receive_buffer=16_384) as wire:
        yield wire


def send_until_full(wire: Wire, block: bytes, most: int) -> int:
    """Send until the other side takes no more for half a second; returns how much it took."""
    wire.sock.settimeout(0.5)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < most:
            sent += wire.sock.send(block)
    wire.sock.settimeout(wire.timeout)
    return sent


@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_upload_waits_for_the_application(server: Running, wire: Wire, is_chunked: bool) -> None:
    name = f"upload-{port_of(wire)}"
    target = play(("wait", name), ("count",), ("send", OK), ("send", body(b"ok")))
    total = 30 * MIB
    before = usage(server)["rss"]
    if is_chunked:
        wire.send(chunked(b"%x\r\n" % total, target=target))
    else:
        wire.send(get(target, b"Content-Length: %d\r\n" % total, method=b"POST"))
    sent = send_until_full(wire, b"x" * 65_536, total)
    assert sent < 20 * MIB, "the server took it all while the application read nothing"
    assert usage(server)["rss"] < before + 8_000
    release(server, name)
    left = total - sent
    while left:
        left -= wire.sock.send(b"x" * min(left, 65_536))
    if is_chunked:
        wire.send(b"\r\n0\r\n\r\n")
    assert wire.read_response().body == b"ok"
    assert wait_for_call(server, wire)["received"][-1]["size"] == total
    assert usage(server)["rss"] < before + 8_000


def test_a_stream_waits_for_its_reader(server: Running, wire: Wire) -> None:
    before = usage(server)["rss"]
    wire.send(get(play(("send", start()), ("flood", 1_000, 65_536), ("send", body()))))
    call = wait_for_call(server, wire, lambda call: len(call["sent"]) > 5)
    assert call["outcome"] == "running"
    assert usage(server)["rss"] < before + 8_000
    assert wait_for_call(server, wire, lambda call: True)["outcome"] == "running"
    response = wire.read_response()
    assert len(response.body) == 1_000 * 65_536
    assert usage(server)["rss"] < before + 8_000


def test_a_reader_that_leaves_frees_its_stream(server: Running, wire: Wire) -> None:
    wire.send(get(play(("send", start()), ("flood", 1_000, 65_536), ("send", body()))))
    port = port_of(wire)
    wait_for_call(server, port, lambda call: len(call["sent"]) > 5)
    wire.reset()
    assert wait_for_call(server, port)["outcome"] == "returned"


def test_pipelined_streams_wait_for_their_reader(server: Running, wire: Wire) -> None:
    before = usage(server)["rss"]
    target = play(("send", start()), ("flood", 40, 65_536), ("send", body()))
    wire.send(get(target) * 20)
    wait_for_call(server, wire, lambda call: call["sent"])
    assert usage(server)["rss"] < before + 8_000
    for _ in range(20):
        assert len(wire.read_response().body) == 40 * 65_536
    assert usage(server)["rss"] < before + 8_000


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1_000_000, 8 * MIB])
def test_a_body_of_any_size_goes_out_whole(server: Running, wire: Wire, size: int) -> None:
    message = f'("send", {{"type": "http.response.body", "body": b"x" * {size}}})'
    for head in (start(), start(200, (b"content-length", str(size).encode()))):
        wire.send(get(play(("send", head), message)))
        assert wire.read_response().body == b"x" * size


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 1_000_000])
def test_a_body_of_any_size_comes_in_whole(server: Running, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    with connect(server) as wire:
        wire.send(get(b"/", b"Content-Length: %d\r\n" % size, method=b"POST") + data)
        assert echo(wire.read_response()).body == data
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in _pieces(data, 10_000))
        wire.send(chunked(chunks + b"0\r\n\r\n"))
        assert echo(wire.read_response()).body == data


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_many_tiny_chunks_take_no_time(server: Running) -> None:
    with connect(server) as wire:
        wire.send(
            chunked(b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n", target=play(("count",), ("send", OK), ("send", body(b"ok"))))
        )
        assert wire.read_response().body == b"ok"
        assert wait_for_call(server, wire)["received"][-1]["size"] == 20_000


@pytest.mark.parametrize("length", [b"9999999999999999999", b"2147483648", b"4294967296"])
def test_a_length_beyond_all_bounds_is_taken_as_it_is(server: Running, wire: Wire, length: bytes) -> None:
    """It is a promise; what comes is passed on, and when the client stops, that is no end of the body."""
    wire.send(get(b"/a", b"Content-Length: " + length + b"\r\n", method=b"POST") + b"hello")
    wait_for_call(server, wire, lambda call: call["received"])
    wire.half_close()
    assert wire.read_response().status == 400
    received = wait_for_call(server, wire)["received"]
    assert received == [{"type": "http.request", "body": b"hello", "more_body": True}, {"type": "http.disconnect"}]


def test_a_chunk_beyond_all_bounds_is_taken_as_it_is(server: Running, wire: Wire) -> None:
    wire.send(chunked(b"ffffffffffffffff\r\nhello", target=b"/a"))
    wait_for_call(server, wire, lambda call: call["received"])
    wire.half_close()
    assert wire.read_response().status == 400
    assert wait_for_call(server, wire)["received"][-1] == {"type": "http.disconnect"}


def test_a_long_life_leaves_nothing(server: Running) -> None:
    """Three thousand requests on one connection, all different, after as many to warm up: what leaks, does so again."""
    with connect(server) as wire:
        target = sends(OK, body(b"ok"))

        def live(begin: int) -> None:
            for first in range(begin, begin + 3_000, 50):
                fields = (b"X-%d: y\r\nCookie: a=%d\r\n" % (number, number) for number in range(first, first + 50))
                wire.send(b"".join(get(b"/journal?0", field) for field in fields))
                for _ in range(50):
                    assert wire.read_response().body == b"[]"

        assert wire.request(get(target)).body == b"ok"
        live(0)
        growth = []
        for number in range(1, 5):
            before = usage(server)["rss"]
            live(3_000 * number)
            growth.append(usage(server)["rss"] - before)
            if growth[-1] < 1_500:
                break
        assert growth[-1] < 1_500, growth


def test_connections_that_come_and_go_leave_nothing(server: Running) -> None:
    def churn() -> None:
        for number in range(300):
            with connect(server) as wire:
                match number % 6:
                    case 0:
                        wire.request(get())
                    case 1:
                        wire.send(b"GET / HT")
                    case 2:
                        wire.request(b"BAD\r\n\r\n")
                    case 3:
                        wire.send(get(b"/a", b"Content-Length: 100\r\n", method=b"POST") + b"x")
                        wire.reset()
                    case 4:
                        wire.send(get(play(("gone",))))
                        wire.reset()
                    case 5:
                        wire.send(get() * 3)

    def at_rest() -> dict[str, int]:
        deadline = time.monotonic() + 30
        while (found := usage(server))["running"] or found["descriptors"] > first["descriptors"] + 5:
            assert time.monotonic() < deadline, (first, found)
            time.sleep(0.01)  # a connection lingers for a second
        return found

    first = usage(server)
    churn()
    growth = []
    for _ in range(4):  # what leaks, does so again
        before = at_rest()["rss"]
        churn()
        growth.append(at_rest()["rss"] - before)
        if growth[-1] < 2_000:
            break
    assert growth[-1] < 2_000, growth
