"""The frame reader by itself: every split, every limit, and the same bytes against the library websockets."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.protocol import OPEN, Protocol, Side

from uvicorn.server.websocket_deflate import Agreement, Deflate, negotiate, parse_extensions
from uvicorn.server.websocket_engines import FramesEngine, WSProtoEngine
from uvicorn.server.websocket_frames import (
    Close,
    Event,
    Failure,
    FrameReader,
    Ping,
    Pong,
    apply_mask,
    is_sendable,
    read_close,
    write_close,
    write_message,
)

from .harness import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_frame, frame, mask

ROOM = 1 << 30
BOTH = pytest.mark.parametrize("make", [FramesEngine, WSProtoEngine], ids=["frames", "wsproto"])


def read(reader: Any, *pieces: bytes) -> list[Event]:
    return [event for piece in pieces for event in reader.receive(piece, ROOM, ROOM)]


STREAMS = {
    "messages": frame(TEXT, "grüße €😀".encode()) + frame(BINARY, bytes(range(200))) + frame(TEXT),
    "fragments": frame(TEXT, b"\xe2\x82", fin=False) + frame(PING, b"!") + frame(CONTINUATION, b"\xac") + frame(PONG),
    "close": frame(BINARY, b"", fin=False) + close_frame(4000, "ü") + frame(TEXT, b"ignored"),
    "failure": frame(TEXT, b"first") + frame(TEXT, b"ab\xf0\x9f\x98x"),
    "length": frame(BINARY, b"x" * 126) + frame(BINARY, b"x" * 125, size=2),
}


@BOTH
@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_every_split_in_two_and_octet_by_octet_give_the_same_events(make: Any, stream: bytes) -> None:
    shown = comparable if make is WSProtoEngine else list  # wsproto says the same with other words
    whole = shown(read(make(1000), stream))
    assert whole
    for cut in range(len(stream) + 1):
        assert shown(read(make(1000), stream[:cut], stream[cut:])) == whole, cut
    assert shown(read(make(1000), *(stream[i : i + 1] for i in range(len(stream))))) == whole


@BOTH
def test_every_split_of_compressed_messages_gives_the_same(make: Any) -> None:
    agreement = Agreement(server_max_window_bits=12, client_max_window_bits=12)
    client = zlib.compressobj(wbits=-12)
    stream = b""
    for text in (b"hello " * 50, b"hello again", b""):
        data = (client.compress(text) + client.flush(zlib.Z_SYNC_FLUSH))[:-4] if text else b"\x00"
        stream += frame(TEXT, data[:3], rsv=4, fin=False) + frame(PING) + frame(CONTINUATION, data[3:])
    expected = ["hello " * 50, "hello again", ""]
    for cut in range(len(stream) + 1):
        events = read(make(1000, Deflate(agreement)), stream[:cut], stream[cut:])
        assert [event for event in events if isinstance(event, str)] == expected


@BOTH
def test_room_and_volume_bound_what_one_call_gives_and_lose_nothing(make: Any) -> None:
    stream = b"".join(frame(TEXT, b"%03d" % i) for i in range(100)) + close_frame(1000)
    for room, volume in ((1, ROOM), (7, ROOM), (ROOM, 1), (ROOM, 10)):
        reader = make(1000)
        events = reader.receive(stream, room, volume)
        while reader.has_rest:
            more = reader.receive(b"", room, volume)
            assert sum(isinstance(event, str) for event in more) <= max(1, min(room, -(-volume // 3)))
            events += more
        assert events == [f"{i:03}" for i in range(100)] + [Close(1000, "")]
    reader = make(1000)
    assert reader.receive(stream[:12], 0, ROOM) == []
    assert reader.has_rest


@BOTH
def test_a_partial_frame_is_no_rest(make: Any) -> None:
    for cut in range(1, 9):
        reader = make(1000)
        assert read(reader, frame(PING, b"abc")[:cut]) == []
        assert not reader.has_rest


def test_each_header_octet_is_judged_when_it_is_there() -> None:
    for octets, code in [(b"\x91", 1002), (b"\x83", 1002), (b"\x09", 1002), (b"\x80", 1002), (b"\x81\x05", 1002)]:
        assert isinstance(failure := read(FrameReader(1000), octets)[0], Failure)
        assert failure.code == code
    assert read(FrameReader(1000), b"\x88\xfe") == [Failure(1002, "control frame too long")]
    assert read(FrameReader(1000), b"\x82\xfe\x03\xe9") == [
        Failure(1009, "frame with 1001 bytes exceeds limit of 1000 bytes")
    ]
    assert read(FrameReader(1000), frame(BINARY, b"x" * 900, fin=False), b"\x00\xfe\x00\x80") == [
        Failure(1009, "frame with 128 bytes after reading 900 bytes exceeds limit of 100 bytes")
    ]


def test_nothing_is_read_after_a_close_or_a_failure() -> None:
    for last in (close_frame(1000), b"\xff"):
        reader = FrameReader(1000)
        assert len(read(reader, last + frame(TEXT, b"x"))) == 1
        assert read(reader, frame(TEXT, b"x") * 10) == []
        assert not reader.has_rest


@pytest.mark.parametrize("kind", [TEXT, BINARY])
def test_a_message_in_tiny_fragments_costs_its_size(kind: int) -> None:
    """Kept as they came, these fragments would be 20,000 objects of 50 octets each, for 40,000 octets of message."""
    import tracemalloc

    reader = FrameReader(1 << 24)
    piece = frame(CONTINUATION, b"ab", fin=False) * 1000
    read(reader, frame(kind, b"", fin=False))
    tracemalloc.start()
    for _ in range(20):
        assert read(reader, piece) == []
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 300_000, f"{size} octets for a message of 40,000"
    (result,) = read(reader, frame(CONTINUATION, b"!"))
    assert result in ("ab" * 20_000 + "!", b"ab" * 20_000 + b"!")


def test_masking_with_and_without_the_library() -> None:
    key = b"\x01\x80\xff\x7e"
    for size in (0, 1, 3, 4, 5, 125, 1000, 4097):
        data = bytes(i * 7 % 256 for i in range(size))
        assert apply_mask(data, key) == mask(data, key)
        assert apply_mask(memoryview(data), key) == mask(data, key)


def test_masking_without_the_library_in_a_fresh_interpreter() -> None:
    import subprocess
    import sys

    code = """
import sys
sys.modules["websockets.speedups"] = None
from uvicorn.server.websocket_frames import apply_mask
data = bytes(i * 7 % 256 for i in range(1001))
for size in (0, 1, 3, 4, 5, 1001):
    expected = bytes(o ^ b"\\x01\\x80\\xff\\x7e"[i & 3] for i, o in enumerate(data[:size]))
    assert apply_mask(memoryview(data)[:size], b"\\x01\\x80\\xff\\x7e") == expected, size
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_close_payloads() -> None:
    assert read_close(b"") == (1005, "")
    assert read_close(b"\x03\xe8\xc3\xbc") == (1000, "ü")
    assert write_close(1005, "") == b"\x88\x00"
    assert write_close(1000, "") == b"\x88\x02\x03\xe8"
    assert len(write_close(1000, "€" * 100)) == 2 + 2 + 123  # 41 letters of three octets
    assert [code for code in range(900, 5100) if is_sendable(code)] == [
        *range(1000, 1004),
        *range(1007, 1015),
        *range(3000, 5000),
    ]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 4095, 4096, 65535, 65536, 1 << 20])
def test_what_is_written_is_read_by_the_library(length: int) -> None:
    written = write_message(b"x" * length)
    data = written if isinstance(written, bytes) else b"".join(written)
    client = Protocol(Side.CLIENT, max_size=None)
    client.receive_data(data)
    (received,) = client.events_received()
    assert (received.opcode, len(received.data), received.fin) == (Opcode.BINARY, length, True)  # type: ignore[union-attr]


# -- Against the library --


def library_events(octets: bytes, max_size: int, deflate: PerMessageDeflate | None) -> list[Event]:
    """What websockets' own sans-IO protocol makes of the same bytes, in our words."""
    server = Protocol(Side.SERVER, state=OPEN, max_size=max_size)
    if deflate is not None:
        server.extensions = [deflate]
    server.receive_data(octets)
    events: list[Event] = []
    parts: list[bytes] = []
    kind = None
    for got in server.events_received():
        assert hasattr(got, "opcode")
        if got.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            kind = got.opcode if got.opcode is not Opcode.CONT else kind
            parts.append(bytes(got.data))
            if got.fin:
                data, parts = b"".join(parts), []
                if kind is Opcode.BINARY:
                    events.append(data)
                    continue
                try:
                    events.append(data.decode())
                except UnicodeDecodeError:
                    events.append(Failure(1007, ""))
                    return events
        elif got.opcode is Opcode.PING:
            events.append(Ping(bytes(got.data)))
        elif got.opcode is Opcode.PONG:
            events.append(Pong(bytes(got.data)))
    if server.close_rcvd is not None and server.parser_exc is None:
        events.append(Close(int(server.close_rcvd.code), server.close_rcvd.reason))
    elif server.parser_exc is not None:
        assert server.close_sent is not None, server.parser_exc
        events.append(Failure(int(server.close_sent.code), ""))
    return events


def random_stream(dice: random.Random, compressed: bool) -> bytes:
    """A few frames as a client sends them, some of them spoilt."""
    stream = b""
    compressor = zlib.compressobj(wbits=-12) if compressed else None
    for _ in range(dice.randrange(1, 6)):
        if dice.random() < 0.2:
            stream += frame(dice.choice([PING, PONG]), dice.randbytes(dice.randrange(0, 126)))
            continue
        kind = dice.choice([TEXT, BINARY])
        payload = "".join(dice.choices("aü€😀 xyz", k=dice.randrange(0, 200))).encode()
        if kind == BINARY:
            payload = dice.randbytes(dice.randrange(0, 300))
        rsv = 0
        if compressor is not None and payload and dice.random() < 0.7:
            payload = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
            rsv = 4
        cuts = sorted(dice.randrange(0, len(payload) + 1) for _ in range(dice.choice([0, 0, 1, 3])))
        pieces = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        for index, piece in enumerate(pieces):
            stream += frame(
                kind if index == 0 else CONTINUATION,
                piece,
                fin=index == len(pieces) - 1,
                rsv=rsv if index == 0 else 0,
                key=dice.randbytes(4),
            )
    if dice.random() < 0.3:
        stream += close_frame(dice.choice([1000, 1001, 3000, 1006, 500, None]), dice.choice(["", "bye"]))
    if dice.random() < 0.5:  # spoil an octet
        at = dice.randrange(len(stream) or 1)
        stream = stream[:at] + bytes([dice.randrange(256)]) + stream[at + 1 :]
    return stream


def comparable(events: list[Event]) -> list[Event]:
    return [Failure(event.code, "") if isinstance(event, Failure) else event for event in events]


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("make", [FramesEngine, WSProtoEngine], ids=["frames", "wsproto"])
def test_thousands_of_streams_mean_the_same_as_to_the_library(make: Any, compressed: bool) -> None:
    dice = random.Random(6455)
    stricter = 0
    for number in range(3000):
        stream = random_stream(dice, compressed)
        agreement = Agreement(client_max_window_bits=12) if compressed else None
        theirs = comparable(
            library_events(stream, 600, PerMessageDeflate(False, False, 12, 12) if compressed else None)
        )
        engine = make(600, Deflate(agreement) if agreement else None)
        cut = dice.randrange(len(stream) + 1)
        ours = comparable(read(engine, stream[:cut], stream[cut:]))
        if ours == theirs or (make is WSProtoEngine and [*ours, Failure(1009, "")] == theirs):
            continue  # wsproto does not tell a length before its octets are there
        # We may only be stricter or earlier: what we gave before the end is what they gave.
        assert ours, (number, stream.hex(), theirs)
        end = ours[-1]
        assert ours[:-1] == theirs[: len(ours) - 1], (number, stream.hex(), ours, theirs)
        # a close in the middle of a message is allowed (5.4, 5.5); the library fails it
        assert isinstance(end, Failure) or (end.__class__ is Close and theirs[-1] == Failure(1002, "")), (number, ours)
        stricter += 1
    assert stricter < 900, stricter


# -- Compression --


OFFERS = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_max_window_bits=10",
    'permessage-deflate; client_max_window_bits="9"',
    "permessage-deflate; client_max_window_bits=8",
    "permessage-deflate; client_max_window_bits=16",
    "permessage-deflate; client_max_window_bits=abc",
    "permessage-deflate; client_max_window_bits=010",
    "permessage-deflate; server_max_window_bits=9",
    "permessage-deflate; server_max_window_bits=15",
    "permessage-deflate; server_max_window_bits=8",
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; server_no_context_takeover",
    "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; unknown",
    "permessage-deflate; unknown, permessage-deflate",
    "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=11",
    "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits",
    "x-other",
    ", permessage-deflate ,",
]


@pytest.mark.parametrize("offer", OFFERS)
def test_the_answer_to_an_offer_is_that_of_the_library(offer: str) -> None:
    from websockets.headers import build_extension, parse_extension

    factory = ServerPerMessageDeflateFactory(
        server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
    )
    theirs = None
    for name, parameters in parse_extension(offer):
        if name == factory.name:
            try:
                answer, extension = factory.process_request_params(parameters, [])
            except Exception:
                continue
            theirs = build_extension([(name, answer)]), extension
            break
    ours = negotiate(parse_extensions([offer]))
    if theirs is None:
        assert ours is None
    else:
        assert ours is not None
        assert ours.header == theirs[0]
        assert ours.client_max_window_bits == theirs[1].remote_max_window_bits
        assert ours.server_max_window_bits == theirs[1].local_max_window_bits
        assert ours.client_no_context_takeover == theirs[1].remote_no_context_takeover
        assert ours.server_no_context_takeover == theirs[1].local_no_context_takeover


@pytest.mark.parametrize("value", [";", "a;", "a=b", "a;;b", "a b", 'a; b="', "permessage-deflate; ="])
def test_a_header_that_is_no_list_of_extensions_is_an_error(value: str) -> None:
    from uvicorn.server.websocket_deflate import ExtensionHeaderError

    with pytest.raises(ExtensionHeaderError):
        parse_extensions([value])


@BOTH
def test_a_bomb_is_stopped_at_the_limit(make: Any) -> None:
    import tracemalloc

    bomb = zlib.compressobj(wbits=-15)
    data = (bomb.compress(b"\0" * (64 << 20)) + bomb.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert len(data) < 100_000
    engine = make(1 << 20, Deflate(Agreement()))
    tracemalloc.start()
    events = read(engine, frame(BINARY, data, rsv=4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [event.code for event in events if isinstance(event, Failure)] == [1009]
    assert peak < 8 << 20


HELLO_FINAL = bytes.fromhex("f348cdc9c90700") + b"\x00"
"""RFC 7692 7.2.3.4: "Hello" in a block with BFINAL, and an empty octet behind."""


@BOTH
def test_blocks_that_end_the_stream_do_not_end_the_connection(make: Any) -> None:
    engine = make(1000, Deflate(Agreement()))
    assert read(engine, frame(TEXT, HELLO_FINAL, rsv=4), frame(TEXT, HELLO_FINAL, rsv=4)) == ["Hello", "Hello"]
    normal = bytes.fromhex("f248cdc9c90700")  # 7.2.3.1
    assert read(engine, frame(TEXT, normal, rsv=4)) == ["Hello"]
    many = b"\x03\x00" * 400 + b"\x00"
    assert read(engine, frame(TEXT, many, rsv=4)) == [""]


@BOTH
@pytest.mark.parametrize("bits", [9, 12, 15])
def test_the_window_outlives_a_block_that_ends_the_stream(make: Any, bits: int) -> None:
    """A client that ends its stream with each message may still refer to what it sent before (7.2.3.4, 7.2.3.2)."""
    dice = random.Random(bits)
    engine = make(1 << 20, Deflate(Agreement(client_max_window_bits=bits)))
    sent = b""
    for size in (10, 300, 3, 2000, 40_000, 0, 7, 511, 1):
        fresh = dice.randbytes(size)
        # Half of it is found in the window only by who has kept that; cut into fragments at any place.
        payload = fresh + sent[-min(len(sent), (1 << bits) - 300, 200) :]
        stream = zlib.compressobj(wbits=-bits, zdict=sent[-(1 << bits) :])
        data = stream.compress(payload) + stream.flush(zlib.Z_FINISH) + b"\x00"
        assert size > 1000 or not sent or len(data) < len(payload) + 20
        cut = dice.randrange(len(data))
        frames = frame(BINARY, data[:cut], rsv=4, fin=False) + frame(CONTINUATION, data[cut:])
        assert read(engine, frames) == [payload]
        sent += payload


@BOTH
def test_the_window_ends_with_the_message_where_that_was_agreed(make: Any) -> None:
    agreement = Agreement(client_no_context_takeover=True)
    again = bytes.fromhex("f200110000")  # 7.2.3.2: refers to a "Hello" before it
    for first in (HELLO_FINAL, bytes.fromhex("f248cdc9c90700")):
        engine = make(1000, Deflate(agreement))
        assert read(engine, frame(TEXT, first, rsv=4)) == ["Hello"]
        (failure,) = (event for event in read(engine, frame(TEXT, again, rsv=4)) if event != "Hello")
        assert isinstance(failure, Failure)
        assert failure.code == 1002
        engine = make(1000, Deflate(Agreement()))
        assert read(engine, frame(TEXT, first, rsv=4), frame(TEXT, again, rsv=4)) == ["Hello", "Hello"]


@BOTH
def test_more_blocks_that_end_the_stream_than_anybody_needs_fail(make: Any) -> None:
    engine = make(1 << 20, Deflate(Agreement()))
    events = read(engine, frame(TEXT, b"\x03\x00" * 30_000 + b"\x00", rsv=4))
    assert [event.code for event in events if isinstance(event, Failure)] == [1002]


@BOTH
def test_without_context_each_message_stands_alone(make: Any) -> None:
    agreement = negotiate(
        parse_extensions(["permessage-deflate; client_no_context_takeover; server_no_context_takeover"])
    )
    assert agreement is not None
    engine = make(1000, Deflate(agreement))
    alone = bytes.fromhex("f248cdc9c90700")
    assert read(engine, frame(TEXT, alone, rsv=4), frame(TEXT, alone, rsv=4)) == ["Hello", "Hello"]
    first, second = (engine.message("Hello" * 10) for _ in range(2))
    assert first == second
    assert first[0] == 0xC1


@BOTH
def test_a_message_that_is_not_compressed_passes_between_compressed_ones(make: Any) -> None:
    engine = make(1000, Deflate(Agreement()))
    compressed = frame(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=4)
    again = frame(TEXT, bytes.fromhex("f200110000"), rsv=4)  # 7.2.3.2: refers to the first
    assert read(engine, compressed, frame(TEXT, b"plain"), again) == ["Hello", "plain", "Hello"]
    assert isinstance(read(engine, frame(CONTINUATION, b"", rsv=4))[0], Failure)


@BOTH
def test_data_that_is_not_compressed_as_it_says_fails_with_1002(make: Any) -> None:
    events = read(make(1000, Deflate(Agreement())), frame(TEXT, b"\xff\xff\xff\xff", rsv=4))
    assert [event.code for event in events if isinstance(event, Failure)] == [1002]


@BOTH
def test_control_frames_are_never_compressed(make: Any) -> None:
    for opcode in (PING, PONG, CLOSE):
        events = read(make(1000, Deflate(Agreement())), frame(opcode, b"", rsv=4))
        assert [event.code for event in events if isinstance(event, Failure)] == [1002]
