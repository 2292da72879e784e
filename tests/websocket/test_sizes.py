"""How large a message may be: the limit, none at all, and nothing but empty ones."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest

from .harness import BINARY, CONTINUATION, ENGINES, TEXT, Recorder, Served, echo, frame

pytestmark = pytest.mark.parametrize("engine", ENGINES)

DEFAULT = 16 << 20
DEFLATE = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12"]


def fragments(*sizes: int) -> bytes:
    """One message of fragments of these sizes."""
    last = len(sizes) - 1
    return b"".join(
        frame(CONTINUATION if i else BINARY, b"x" * size, key=bytes(4), fin=i == last) for i, size in enumerate(sizes)
    )


def test_without_a_limit_more_than_the_default_passes(engine: str) -> None:
    app = Recorder()
    with Served(app, engine, ws_max_size=None) as served, served.open() as client:
        client.send(fragments(DEFAULT, 1))
        assert client.close() == (1000, "")
        app.finished()
        assert [len(message) for message in app.messages] == [DEFAULT + 1]
        assert served.errors == []


def test_the_default_is_16_mebibytes(engine: str) -> None:
    app = Recorder()
    with Served(app, engine) as served, served.open() as client:
        client.send(fragments(DEFAULT), fragments(DEFAULT - 1, 2))
        assert client.read_close()[0] == 1009
        app.finished()
        assert [len(message) for message in app.messages] == [DEFAULT]
        assert served.errors == []


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_nothing_lets_only_empty_messages_pass(engine: str, limit: int) -> None:
    with Served(echo, engine, ws_max_size=limit) as served, served.open() as client:
        client.send(frame(TEXT), frame(BINARY))
        assert [client.message(), client.message()] == ["", b""]
        client.send(frame(TEXT, b"x"))
        assert client.read_close()[0] == 1009
        assert served.errors == []


@pytest.mark.parametrize("size", [1000, 1001])
def test_the_limit_counts_what_a_compressed_message_becomes(engine: str, size: int) -> None:
    compressor = zlib.compressobj(wbits=-12)
    data = (compressor.compress(b"x" * size) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert len(data) < 50
    _answer_to(engine, size, data, b"x" * size)


@pytest.mark.parametrize("size", [1000, 1001])
def test_a_compressed_message_may_be_longer_than_what_it_becomes(engine: str, size: int) -> None:
    message = random.Random(1).randbytes(size // 2).hex().encode() + b"x" * (size % 2)
    compressor = zlib.compressobj(0, wbits=-12)  # stores
    data = (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert len(data) > 1001
    _answer_to(engine, size, data, message)


def _answer_to(engine: str, size: int, data: bytes, message: bytes) -> None:
    with Served(echo, engine, ws_max_size=1000) as served, served.open("/", DEFLATE) as client:
        client.send(frame(TEXT, data[:5], rsv=4, fin=False), frame(CONTINUATION, data[5:]))
        answer: Any = client.read()
        if size > 1000:
            assert answer.code == 1009
        else:
            inflated = zlib.decompressobj(wbits=-12).decompress(answer.payload + b"\x00\x00\xff\xff")
            assert (answer.rsv, inflated) == (4, message)
        assert served.errors == []
