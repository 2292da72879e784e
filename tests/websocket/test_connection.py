"""Messages, fragments, pings, limits and closing, on the wire, with both engines alike."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server.websocket_handshake import Phase

from .harness import (
    BINARY,
    CLOSE,
    CONTINUATION,
    ENGINES,
    PING,
    PONG,
    TEXT,
    Client,
    Frame,
    Recorder,
    Served,
    close_frame,
    echo,
    frame,
    handshake,
)

pytestmark = pytest.mark.parametrize("engine", ENGINES)

LENGTHS = [0, 1, 125, 126, 127, 4095, 4096, 65535, 65536, 200_000]


def test_text_and_bytes_of_every_length_form_come_back(engine: str) -> None:
    with Served(echo, engine) as served, served.open() as client:
        for length in LENGTHS:
            client.text("ü" * (length // 2))
            assert client.message() == "ü" * (length // 2)
            payload = bytes(i % 251 for i in range(length))
            client.binary(payload)
            assert client.message() == payload
        assert client.close() == (1000, "")
        assert not served.errors


def test_an_event_has_one_of_text_and_bytes(engine: str) -> None:
    app = Recorder()
    with Served(app, engine) as served, served.open() as client:
        client.send(frame(TEXT, b"a"), frame(BINARY, b"b"), frame(TEXT), frame(BINARY))
        client.close(1001, "bye")
        assert app.finished() == [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": "a"},
            {"type": "websocket.receive", "bytes": b"b"},
            {"type": "websocket.receive", "text": ""},
            {"type": "websocket.receive", "bytes": b""},
            {"type": "websocket.disconnect", "code": 1001, "reason": "bye"},
        ]


def test_fragments_are_joined_also_with_control_frames_between_and_letters_cut_in_two(engine: str) -> None:
    letters = "grüße €😀".encode()
    with Served(echo, engine) as served, served.open() as client:
        for cut in range(len(letters) + 1):
            client.send(
                frame(TEXT, letters[:cut], fin=False),
                frame(PING, b"between"),
                frame(CONTINUATION, b"", fin=False),
                frame(CONTINUATION, letters[cut:]),
            )
            assert client.read() == Frame(PONG, b"between")
            assert client.message() == letters.decode()
        client.send(*[frame(BINARY if i == 0 else CONTINUATION, b"%d" % (i % 10), fin=i == 4999) for i in range(5000)])
        assert client.message() == b"0123456789" * 500


def test_the_end_of_the_handshake_does_not_matter_to_the_frames(engine: str) -> None:
    frames = frame(TEXT, b"one") + frame(BINARY, b"two")
    with Served(echo, engine) as served:
        with served.open(early=frames) as client:  # in the segment of the handshake
            assert [client.message(), client.message()] == ["one", b"two"]
        request = handshake()
        for cut in (len(request) - 1, len(request), len(request) + 1, len(request) + 5, len(request) + 8):
            with served.connect() as client:
                data = request + frames
                client.wire.send(data[:cut])
                time.sleep(0.01)  # apart on the wire; either way must work
                client.wire.send(data[cut:])
                assert client.read_handshake().status == 101
                assert [client.message(), client.message()] == ["one", b"two"]
        assert not served.errors


@pytest.mark.parametrize(
    "octets",
    [
        frame(TEXT, "grüße".encode()) + frame(BINARY, b"\x00\xff") + frame(PING, b"p") + close_frame(1000, "fertig"),
        frame(TEXT, b"a" * 126, size=2) + close_frame(None),
        frame(TEXT, b"x", fin=False) + frame(PING) + frame(CONTINUATION, b"y" * 200) + close_frame(3000),
        frame(TEXT, b"ok") + frame(TEXT, b"\xf4\x90\x80\x80"),
        frame(TEXT, b"ok") + frame(TEXT, b"bad", rsv=1),
    ],
    ids=["plain", "length", "fragments", "bad text", "reserved bit"],
)
def test_every_split_of_the_frames_gives_the_same(engine: str, octets: bytes) -> None:
    outcomes = set()
    with Served(echo, engine) as served:
        for cut in range(len(octets) + 1):
            with served.open() as client:
                client.wire.send(octets[:cut])
                if cut % 3:
                    served.call(lambda: None)  # the loop has turned at least once between the two
                client.wire.send(octets[cut:])
                seen: list[Frame] = []
                while not seen or seen[-1].opcode != CLOSE:
                    seen.append(client.read())
                assert client.ended() == "eof"
                # a pong overtakes the application's answers, and may
                outcomes.add(
                    (tuple(f for f in seen if f.opcode != PONG), frozenset(f for f in seen if f.opcode == PONG))
                )
        assert served.errors == []
    for messages, _ in outcomes:
        assert messages[0].opcode in (TEXT, CLOSE)
    # Answers to messages that came right before the client's close may come too late; nothing else may differ.
    closes = {messages[-1] for messages, _ in outcomes}
    assert len(closes) == 1, closes


def test_pings_are_answered_with_their_payload(engine: str) -> None:
    with Served(echo, engine) as served, served.open() as client:
        for payload in (b"", b"x", bytes(range(125))):
            client.send(frame(PING, payload))
            assert client.read() == Frame(PONG, payload)
        client.send(frame(PONG, b"unasked"), frame(TEXT, b"still here"))
        assert client.message() == "still here"


# -- Violations --

VIOLATIONS: dict[str, tuple[bytes, int]] = {
    "unmasked": (frame(TEXT, b"x", key=None), 1002),
    "reserved bit 1": (frame(TEXT, b"x", rsv=4), 1002),
    "reserved bit 2": (frame(TEXT, b"x", rsv=2), 1002),
    "reserved bit 3": (frame(TEXT, b"x", rsv=1), 1002),
    "opcode 3": (frame(0x3, b"x"), 1002),
    "opcode 11": (frame(0xB, b"x"), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "message in a message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "length not in the shortest form, 2 octets": (frame(BINARY, b"x", size=2), 1002),
    "length not in the shortest form, 8 octets": (frame(BINARY, b"x" * 126, size=8), 1002),
    "length of 64 bits": (frame(BINARY, b"", size=8, length=1 << 63), 1002),
    "close of one octet": (frame(CLOSE, b"\x03"), 1002),
    "close code 999": (close_frame(999), 1002),
    "close code 1004": (close_frame(1004), 1002),
    "close code 1005": (close_frame(1005), 1002),
    "close code 1006": (close_frame(1006), 1002),
    "close code 1016": (close_frame(1016), 1002),
    "close code 2999": (close_frame(2999), 1002),
    "close code 5000": (close_frame(5000), 1002),
    "close reason that is no text": (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    "text that is none": (frame(TEXT, b"\xc3\x28"), 1007),
    "text that ends early": (frame(TEXT, b"\xe2\x82"), 1007),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "over the limit": (frame(BINARY, b"x" * 1001), 1009),
    "over the limit in fragments": (frame(BINARY, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 600), 1009),
}


@pytest.mark.parametrize("violation", VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_a_violation_is_answered_by_its_code_and_one_line_of_log(engine: str, violation: tuple[bytes, int]) -> None:
    octets, code = violation
    app = Recorder()
    with Served(app, engine, ws_max_size=1000) as served, served.open("/here?q=1") as client:
        client.send(octets)
        answer, reason = client.read_close()
        assert answer == code
        assert reason
        assert client.ended() == "eof"
        assert app.finished()[-1] == {"type": "websocket.disconnect", "code": code, "reason": reason}
        client.wire.close()
        served.wait_for_line("connection closed")
        assert served.errors == []
        assert len(served.lines(containing="failed by the client")) == 1
        assert f'"WebSocket /here?q=1" failed by the client: {reason} ({code})' in served.lines(containing="failed")[0]
        assert not any(record.exc_info for record in served.log.records)


BAD_STARTS = [b"\xff", b"\xc0", b"\xf5", b"\xe0\x80", b"\xed\xa0", b"\xf0\x80", b"\xf4\x90", b"ab\xc3c"]


@pytest.mark.parametrize("start", BAD_STARTS, ids=lambda start: start.hex())
def test_text_fails_at_the_octet_that_breaks_it_not_at_the_end_of_its_frame(engine: str, start: bytes) -> None:
    if start == b"\xed\xa0" and engine == "wsproto":
        pytest.skip("wsproto's decoder waits for the third octet of a surrogate")
    with Served(echo, engine) as served, served.open() as client:
        client.send(frame(TEXT, start, length=1000))
        assert client.read_close()[0] == 1007


def test_what_came_before_a_violation_is_still_answered(engine: str) -> None:
    with Served(echo, engine) as served, served.open() as client:
        client.send(frame(TEXT, b"one"), frame(TEXT, b"two"), frame(0xB))
        assert [client.message(), client.message()] == ["one", "two"]
        assert client.read_close()[0] == 1002


def test_an_application_that_does_not_receive_does_not_hold_up_a_violation_for_long(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        await app.gate.wait()

    app = Recorder(script)
    with Served(app, engine) as served, served.open() as client:
        client.send(frame(TEXT, b"one"), frame(0xB))
        assert client.read_close()[0] == 1002
        served.call(lambda: app.gate.set())


def test_what_follows_a_violation_is_read_out_and_ignored(engine: str) -> None:
    app = Recorder()
    with Served(app, engine) as served, served.open() as client:
        client.send(frame(0xB), frame(TEXT, b"x" * 60000) * 4)
        assert client.read_close()[0] == 1002
        assert client.ended() == "eof"
        app.finished()
        assert app.messages == []


# -- Closing --


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4999])
def test_a_close_of_the_client_is_echoed_and_told(engine: str, code: int) -> None:
    if code == 1014 and engine == "wsproto":
        pytest.skip("wsproto does not know the code that IANA registered last")
    app = Recorder()
    with Served(app, engine) as served, served.open() as client:
        assert client.close(code, "gründe") == (code, "gründe")
        assert app.finished()[-1] == {"type": "websocket.disconnect", "code": code, "reason": "gründe"}
        assert not served.errors


def test_a_close_without_a_code_is_1005(engine: str) -> None:
    app = Recorder()
    with Served(app, engine) as served, served.open() as client:
        client.send(close_frame(None))
        assert client.read() == Frame(CLOSE, b"")
        assert app.finished()[-1] == {"type": "websocket.disconnect", "code": 1005, "reason": ""}
        assert not served.errors


@pytest.mark.parametrize("how", ["eof", "reset"])
def test_a_lost_connection_is_1006(engine: str, how: str) -> None:
    app = Recorder()
    with Served(app, engine) as served, served.open() as client:
        assert app.opened.wait(30)
        client.wire.half_close() if how == "eof" else client.wire.reset()
        assert app.finished()[-1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        assert not served.errors


def test_messages_before_the_close_are_delivered_before_it(engine: str) -> None:
    app = Recorder()
    with Served(app, engine) as served, served.open() as client:
        client.send(*[frame(TEXT, b"%d" % i) for i in range(100)], close_frame(1000))
        app.finished()
        assert app.messages == [str(i) for i in range(100)]
        assert app.events[-1]["code"] == 1000


def test_receive_after_the_disconnect_gives_the_disconnect_again(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        for _ in range(3):
            await app.receive()

    app = Recorder(script)
    with Served(app, engine) as served, served.open() as client:
        client.close(1000, "enough")
        ends = app.finished()[1:]
        assert ends == [{"type": "websocket.disconnect", "code": 1000, "reason": "enough"}] * 3


def test_two_receives_at_once_share_the_messages(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        waiting = [asyncio.ensure_future(app.receive()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await app.send("send", text="ready")
        await asyncio.gather(waiting[0], waiting[2])

    app = Recorder(script)
    with Served(app, engine) as served, served.open() as client:
        assert client.message() == "ready"
        client.send(frame(TEXT, b"1"))
        client.send(frame(TEXT, b"2"))
        app.finished()
        assert sorted(app.messages) == ["1", "2"]


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({}, (1000, "")),
        ({"code": 4000, "reason": "go"}, (4000, "go")),
        ({"code": 1005}, (None, "")),
        ({"code": 1000, "reason": None}, (1000, "")),
        ({"reason": "ü" * 100}, (1000, "ü" * 61)),
    ],
)
def test_the_application_closes(engine: str, fields: dict[str, Any], sent: tuple[int | None, str]) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        await app.send("close", **fields)
        await app.receive()
        await app.receive()

    app = Recorder(script)
    with Served(app, engine) as served, served.open() as client:
        assert client.read_close() == sent
        client.send(close_frame(sent[0]))
        assert client.ended() == "eof"
        code, reason = fields.get("code", 1000), fields.get("reason") or ""
        assert app.finished()[1:] == [{"type": "websocket.disconnect", "code": code, "reason": reason}] * 2
        assert not served.errors


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 2000, 5000, 70000, "1000"])
def test_a_close_code_that_may_not_be_sent_is_the_applications_error(engine: str, code: Any) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        await app.try_send("close", code=code)
        await app.send("send", text="still open")

    app = Recorder(script)
    with Served(app, engine) as served, served.open() as client:
        assert client.message() == "still open"
        assert str(app.errors[0]).startswith("Expected a close code of 1000-1003")


def test_the_connection_waits_for_the_close_of_the_client_only_for_a_time(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uvicorn.server.websocket_ending.CLOSE_TIMEOUT", 0.3)

    async def script(app: Recorder) -> None:
        await app.send("accept")
        await app.send("close")

    with Served(Recorder(script), engine) as served, served.open() as client:
        assert client.read_close() == (1000, "")
        assert client.ended() is not None
        served.wait_until(lambda: not served.connections, "the connection is forgotten")


def test_messages_that_cross_our_close_are_ignored(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        await app.send("close")
        await app.receive()

    app = Recorder(script)
    with Served(app, engine) as served, served.open() as client:
        assert client.read_close() == (1000, "")
        client.send(frame(TEXT, b"late"), frame(PING, b"late"), close_frame(1000))
        assert client.ended() == "eof"
        assert app.finished()[1:] == [{"type": "websocket.disconnect", "code": 1000, "reason": ""}]


# -- The end of the application --


def test_an_application_that_returns_closes_with_1000(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")

    with Served(Recorder(script), engine) as served, served.open() as client:
        assert client.read_close() == (1000, "")
        client.send(close_frame(1000))
        assert client.ended() == "eof"
        assert not served.errors


@pytest.mark.parametrize("error", [ValueError("mine"), asyncio.CancelledError(), SystemExit(3)], ids=repr)
def test_an_application_that_raises_closes_with_1011_and_is_logged(engine: str, error: BaseException) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        raise error

    with Served(Recorder(script), engine) as served, served.open() as client:
        assert client.read_close() == (1011, "")
        served.wait_for_line("ERROR: Exception in ASGI application")
        assert served.log.records[-1].exc_info or any(record.exc_info for record in served.log.records)


def test_an_application_that_returns_a_value_closes_with_1011(engine: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> str:
        await receive()
        await send({"type": "websocket.accept"})
        return "value"

    with Served(app, engine) as served, served.open() as client:  # type: ignore[arg-type]
        assert client.read_close() == (1011, "")
        served.wait_for_line("ASGI callable should return None, but returned 'value'.")


# -- What may be sent when --


def test_sending_after_the_client_has_left_raises_client_disconnected(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        await app.receive()
        await app.send("close")  # what an application does in its finally: no error
        await app.try_send("send", text="x")
        await app.send("send", text="x")  # out of the application, and not logged

    app = Recorder(script)
    with Served(app, engine) as served, served.open() as client:
        client.close()
        app.finished()
        assert [type(error) for error in app.errors] == [ClientDisconnected]
        assert isinstance(app.errors[0], OSError)
        assert not served.errors


def test_messages_out_of_place_are_refused_with_upstreams_words(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.try_send("send", text="x")
        await app.try_send("http.response.body", body=b"x")
        await app.send("accept")
        await app.try_send("accept")
        await app.try_send("http.response.start", status=404)
        await app.send("close")
        await app.try_send("close")
        await app.try_send("send", text="x")

    app = Recorder(script)
    with Served(app, engine) as served, served.open() as client:
        assert client.read_close() == (1000, "")
        client.send(close_frame())
        app.finished()
    first = "Expected ASGI message 'websocket.accept', 'websocket.close' or 'websocket.http.response.start' but got "
    second = "Expected ASGI message 'websocket.send' or 'websocket.close', but got "
    third = "Unexpected ASGI message 'websocket.{}', after sending 'websocket.close'."
    assert [str(error) for error in app.errors] == [
        first + "'websocket.send'.",
        first + "'websocket.http.response.body'.",
        second + "'websocket.accept'.",
        second + "'websocket.http.response.start'.",
        third.format("close"),
        third.format("send"),
    ]


def test_what_send_takes_and_what_it_does_not(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        await app.send("send", bytes=b"bytes win", text="text")
        await app.send("send", bytes=None, text="text")
        await app.send("send", bytes=bytearray(b"array"))
        await app.send("send", bytes=memoryview(b"view"))
        await app.send("send")
        await app.send("send", text=None, bytes=b"")
        await app.send("send", text="")
        await app.try_send("send", text=b"bytes")
        await app.try_send("send", bytes="text")
        await app.try_send("send", text="\ud800")
        await app.send("send", text="last")

    app = Recorder(script)
    with Served(app, engine) as served, served.open() as client:
        expected = [b"bytes win", "text", b"array", b"view", b"", "", "last"]
        assert [client.message() for _ in expected] == expected
        assert [type(error) for error in app.errors] == [TypeError, TypeError, UnicodeEncodeError]


# -- Limits and back-pressure --


@pytest.mark.parametrize("length", [999, 1000])
def test_a_message_up_to_the_limit_passes(engine: str, length: int) -> None:
    with Served(echo, engine, ws_max_size=1000) as served, served.open() as client:
        client.binary(b"x" * length)
        assert client.message() == b"x" * length
        client.send(frame(BINARY, b"x" * 500, fin=False), frame(CONTINUATION, b"x" * (length - 500)))
        assert client.message() == b"x" * length


def slow(accept: bool = True) -> Callable[[Recorder], Any]:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        await app.gate.wait()
        while (await app.receive())["type"] != "websocket.disconnect":
            pass

    return script


def fill(client: Client, octets: bytes, most: int = 64 << 20) -> int:
    """Send until nobody reads any more; return how much went out."""
    client.wire.sock.settimeout(0.5)
    sent = 0
    try:
        while sent < most:
            sent += client.wire.sock.send(octets)
    except TimeoutError:
        pass
    return sent


def test_a_slow_application_stops_the_client_and_loses_nothing(engine: str) -> None:
    app = Recorder(slow())
    with Served(app, engine, ws_max_queue=8) as served, served.open() as client:
        block = frame(BINARY, b"x" * 65000)
        sent = fill(client, block)
        assert sent < 32 << 20, "nothing stopped the client"
        connection = served.call(lambda: next(iter(served.connections)))
        assert len(connection._inbox) <= 8
        served.call(lambda: app.gate.set())
        rest = -sent % len(block)
        client.send(block[len(block) - rest :] if rest else b"", close_frame(1000))
        app.finished()
        assert set(map(len, app.messages)) == {65000}
        assert len(app.messages) == -(-sent // len(block))


def test_many_small_messages_in_one_segment_fill_the_queue_no_further(engine: str) -> None:
    app = Recorder(slow())
    with Served(app, engine, ws_max_queue=4) as served, served.open() as client:
        client.send(*[frame(TEXT, b"%d" % i) for i in range(1000)])
        served.wait_until(
            lambda: bool(served.connections) and len(next(iter(served.connections))._inbox) == 4, "the queue is full"
        )
        served.call(lambda: app.gate.set())
        client.send(close_frame(1000))
        app.finished()
        assert app.messages == [str(i) for i in range(1000)]


def test_pings_are_answered_while_the_application_is_slow(engine: str) -> None:
    app = Recorder(slow())
    with Served(app, engine) as served, served.open() as client:
        for i in range(10):
            client.send(frame(TEXT, b"waits"), frame(PING, b"%d" % i))
            assert client.read() == Frame(PONG, b"%d" % i)
        served.call(lambda: app.gate.set())
        client.close()
        assert len(app.finished()) == 12


def test_a_client_that_does_not_read_stops_the_application(engine: str) -> None:
    sent = []

    async def script(app: Recorder) -> None:
        await app.send("accept")
        while not await app.try_send("send", bytes=b"x" * 65536):
            sent.append(65536)

    app = Recorder(script)
    with Served(app, engine) as served, served.open() as client:
        before = -1
        while before != len(sent):
            before = len(sent)
            time.sleep(0.2)
        assert sum(sent) < 32 << 20
        client.wire.reset()
        app.finished()
        assert isinstance(app.errors[-1], ClientDisconnected)
        assert not served.errors


def test_pings_of_a_client_that_does_not_read_are_not_hoarded(engine: str) -> None:
    with Served(echo, engine) as served, served.open() as client:
        fill(client, frame(PING, b"p" * 125) * 500, most=24 << 20)
        connection = served.call(lambda: next(iter(served.connections)))
        assert served.call(connection.transport.get_write_buffer_size) < 1 << 20
        assert not served.errors


def test_a_client_that_never_reads_is_cut_after_the_write_time_out(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        while not await app.try_send("send", bytes=b"x" * 65536):
            pass
        await app.receive()

    app = Recorder(script)
    with Served(app, engine, timeout_write=0.3) as served, served.open():
        assert app.finished()[-1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        served.wait_for_line("the client does not read")
        served.wait_until(lambda: not served.connections, "the connection is forgotten")


# -- Keep-alive pings --


def test_pings_go_out_and_their_answers_keep_the_connection(engine: str) -> None:
    with Served(echo, engine, ws_ping_interval=0.1, ws_ping_timeout=60) as served, served.open() as client:
        payloads = set()
        for _ in range(4):
            ping = client.read()
            assert ping.opcode == PING
            assert len(ping.payload) == 4
            payloads.add(ping.payload)
            client.send(frame(PONG, ping.payload))
        assert len(payloads) == 4
        client.text("still here")
        assert Frame(TEXT, b"still here") in [client.read(), client.read()]


def test_a_client_that_answers_no_ping_is_closed_with_1011(engine: str) -> None:
    app = Recorder()
    with Served(app, engine, ws_ping_interval=0.1, ws_ping_timeout=0.2) as served, served.open() as client:
        assert client.read().opcode == PING
        client.send(frame(PONG, b"not that"))
        assert client.read_close() == (1011, "keepalive ping timeout")
        assert app.finished()[-1] == {
            "type": "websocket.disconnect",
            "code": 1011,
            "reason": "keepalive ping timeout",
        }
        assert not served.errors


def test_a_slow_application_is_no_reason_to_call_the_client_dead(engine: str) -> None:
    app = Recorder(slow())
    options = {"ws_ping_interval": 0.1, "ws_ping_timeout": 60, "ws_max_queue": 1}
    with Served(app, engine, **options) as served, served.open() as client:
        client.send(frame(TEXT, b"1"), frame(TEXT, b"2"))
        (connection,) = served.connections
        served.wait_until(lambda: connection._reading_paused, "reading is paused")
        ping = client.read()
        client.send(frame(PONG, ping.payload))  # unread behind the second message

        def let_time_pass() -> bool:
            pings = connection._pings
            for _ in range(3):
                assert pings.awaited
                connection.expired(pings.due)
            return connection.phase == Phase.OPEN

        assert served.call(let_time_pass)
        served.call(lambda: app.gate.set())
        client.text("3")
        while app.messages != ["1", "2", "3"]:
            ping = client.read()
            assert ping.opcode == PING, ping
            client.send(frame(PONG, ping.payload))
        client.close()
        app.finished()


def test_a_client_that_still_reads_what_was_sent_before_the_ping_is_not_dead(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")
        await app.send("send", bytes=bytes(1 << 24))
        await app.receive()

    app = Recorder(script)
    with Served(app, engine, ws_ping_interval=0.1, ws_ping_timeout=15) as served, served.open() as client:
        served.wait_until(lambda: any(one._write_paused for one in served.connections), "the client is behind")
        (connection,) = served.connections

        def let_time_pass() -> bool:
            for _ in range(3):
                connection.expired(connection._pings.due)
                assert connection._pings.awaited
            return connection.phase == Phase.OPEN

        assert served.call(let_time_pass)
        while (read := client.read()).opcode != PING:
            assert read.opcode == BINARY
        client.send(frame(PONG, read.payload))
        client.close()
        app.finished()
        assert served.errors == []


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_while_nobody_reads_is_found_out(engine: str, how: str) -> None:
    app = Recorder(slow())
    options = {"ws_ping_interval": 0.1, "ws_ping_timeout": 60, "ws_max_queue": 1}
    with Served(app, engine, **options) as served, served.open() as client:
        client.send(frame(TEXT, b"1"), frame(TEXT, b"2"))
        (connection,) = served.connections
        served.wait_until(lambda: connection._reading_paused, "reading is paused")
        if how == "close":
            client.wire.close()
        else:
            client.wire.reset()

        def gone() -> bool:
            served.call(lambda: connection.expired(connection._pings.due))
            return not served.connections

        served.wait_until(gone, "the connection is forgotten")
        served.call(lambda: app.gate.set())
        assert app.finished()[-1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        assert served.errors == []


@pytest.mark.parametrize("interval", [0, -1, None])
def test_no_interval_means_no_pings(engine: str, interval: float | None) -> None:
    with Served(echo, engine, ws_ping_interval=interval) as served, served.open() as client:
        client.text("x")
        assert client.message() == "x"
        connection = served.call(lambda: next(iter(served.connections)))
        assert connection.deadline == float("inf")


# -- Other loops, other parsers --


@pytest.mark.parametrize(("loop", "http"), [("asyncio", "h11"), ("asyncio", "httptools"), ("uvloop", "h11")])
def test_the_same_on_other_loops_and_behind_other_parsers(engine: str, loop: str, http: str) -> None:
    with Served(echo, engine, loop=loop, http=http) as served:
        with served.open(early=frame(TEXT, b"early")) as client:
            assert client.message() == "early"
            for length in LENGTHS:
                client.binary(b"x" * length)
                assert client.message() == b"x" * length
            client.send(frame(TEXT, b"last"), frame(0xB))
            assert client.message() == "last"
            assert client.read_close()[0] == 1002
            assert client.ended() == "eof"
        with served.open() as client:
            assert client.close(1001, "bye") == (1001, "bye")
        app_errors = served.errors
    assert app_errors == []
