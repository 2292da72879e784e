"""Garbage, seeded: no traceback, no hang, no growth, whatever a client sends."""

from __future__ import annotations

import asyncio
import gc
import random
import zlib
from typing import Any

import pytest

from .harness import BINARY, CONTINUATION, ENGINES, PING, TEXT, Served, close_frame, echo, frame, handshake

pytestmark = pytest.mark.parametrize("engine", ENGINES)

ROUNDS = 160
DEFLATE = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]


def compressed(dice: random.Random, compressor: Any, payload: bytes) -> bytes:
    """What a client may make of a message: well, with the end of its stream, as a bomb, cut off, or badly."""
    how = dice.choice(["well", "well", "well", "end", "ends", "bomb", "cut", "spoilt"])
    if how == "ends":
        return b"\x03\x00" * dice.choice([1, 2, 500, 1001, 20_000]) + b"\x00"
    if how == "bomb":
        payload = b"\0" * dice.choice([1 << 18, 1 << 19])
    if how == "end":
        compressor = compressor.copy()
        return bytes(compressor.compress(payload) + compressor.flush(zlib.Z_FINISH)) + b"\x00"
    data = bytearray((compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4])
    if how == "cut":
        del data[dice.randrange(len(data)) :]
    elif how == "spoilt":
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(data)


def garbage(dice: random.Random, deflate: float = 0.3) -> bytes:
    """A few frames, most of them spoilt; `deflate` is the share of those that are said to be compressed."""
    compressor = zlib.compressobj(wbits=-12)
    parts = []
    for _ in range(dice.randrange(1, 8)):
        payload = dice.randbytes(dice.choice([0, 1, 3, 125, 126, 300, 70_000]))
        rsv = 0
        if payload and dice.random() < deflate:
            payload, rsv = compressed(dice, compressor, payload), 4
        if dice.random() < 0.3:
            payload = payload.decode("latin-1").encode()
        parts.append(
            frame(
                dice.choice([TEXT, BINARY, CONTINUATION, PING, dice.randrange(16)]),
                payload,
                fin=dice.random() < 0.7,
                rsv=rsv if dice.random() < 0.9 else dice.randrange(8),
                key=dice.randbytes(4) if dice.random() < 0.95 else None,
            )
        )
    if dice.random() < 0.3:
        parts.append(close_frame(dice.randrange(0, 5001)))
    data = bytearray(b"".join(parts))
    for _ in range(dice.choice([0, 0, 1, 5])):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


async def converse(port: int, dice: random.Random, deflate: bool) -> None:
    """Shake hands, send garbage in pieces, and leave in one of the ways a client leaves."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        data = garbage(dice, 0.9 if deflate else 0.3)
        request = handshake(headers=DEFLATE if deflate or dice.random() < 0.2 else [])
        if dice.random() < 0.1:
            request = request.replace(b"\r\n", b"\n", 1)
        if dice.random() < 0.3:
            data = request + data
        else:
            writer.write(request)
            await reader.readuntil(b"\r\n\r\n")
        while data:
            cut = dice.choice([1, 2, 10, 1000, len(data)])
            writer.write(data[:cut] if len(data) < 5000 or cut > 5 else data[:5000])
            data = data[cut:] if len(data) < 5000 or cut > 5 else data[5000:]
            if dice.random() < 0.3:
                await asyncio.sleep(0)
        how = dice.randrange(4)
        if how == 0:
            writer.write(close_frame(1000))
            await asyncio.wait_for(reader.read(), 60)
        elif how == 1:
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 60)
        elif how == 2:
            writer.transport.abort()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def attack(port: int, seed: int, deflate: bool, rounds: int = ROUNDS) -> None:
    dice = random.Random(seed)
    for _ in range(rounds // 8):
        await asyncio.gather(*(converse(port, random.Random(dice.random()), deflate) for _ in range(8)))


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "compressed"])
def test_garbage_gives_no_error_no_hang_and_no_growth(engine: str, deflate: bool) -> None:
    unexpected: list[Any] = []
    with Served(echo, engine, ws_max_size=1 << 18) as served:
        served.call(lambda: served.loop.set_exception_handler(lambda _, context: unexpected.append(context)))  # type: ignore[union-attr]
        state = served.server.server_state

        def count() -> int:
            served.wait_until(lambda: not state.connections and not state.tasks, "all are gone")
            assert served.errors == []
            assert not any(record.exc_info for record in served.log.records)
            assert len(served.log.lines) < ROUNDS * 5
            served.log.lines.clear()
            served.log.records.clear()
            gc.collect()
            return len(gc.get_objects())

        asyncio.run(attack(served.port, 1, deflate))
        before = count()
        asyncio.run(attack(served.port, 2, deflate))
        grown = count() - before
        assert grown < 2000, f"{grown} more objects after {ROUNDS} connections"
        assert unexpected == []
        with served.open() as client:
            client.text("still well")
            assert client.message() == "still well"
