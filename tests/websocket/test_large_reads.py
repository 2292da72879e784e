"""Connections whose reads go into the shared buffer: nothing of one reaches another, and all else stays as it was."""

from __future__ import annotations

import os
import random
import ssl
from pathlib import Path

import pytest
import trustme

from uvicorn.server.websocket_reading import LARGE, LargeReads

from .harness import BINARY, CONTINUATION, ENGINES, PING, PONG, Client, Frame, Recorder, Served, echo, frame

pytestmark = [
    pytest.mark.parametrize("engine", ENGINES),
    pytest.mark.parametrize("loop", ["asyncio", "uvloop"]),
]

BIG = 8 * LARGE


def protocols(served: Served) -> list[type[object]]:
    """What the transports of the open WebSockets talk to."""
    return served.call(lambda: [type(each.transport.get_protocol()) for each in served.connections])


def grow(served: Served, client: Client) -> None:
    """Make the server read so much at once that it changes the way it reads."""
    for _ in range(100):
        payload = os.urandom(BIG)
        client.binary(payload)
        assert client.message() == payload
        if LargeReads in protocols(served):
            return
    raise AssertionError("no read of 100 large messages was large")


def test_messages_of_all_sizes_pass_in_any_order(engine: str, loop: str) -> None:
    chance = random.Random(7)
    with Served(echo, engine, loop=loop) as served, served.open() as client:
        grow(served, client)
        for size in [0, 1, 4095, 4096, LARGE, 3 * BIG, 70_000, 5, *(chance.randrange(3 * LARGE) for _ in range(50))]:
            payload = chance.randbytes(size)
            client.binary(payload)
            assert client.message() == payload
            client.text("ü" * (size // 2))
            assert client.message() == "ü" * (size // 2)
        assert client.close() == (1000, "")
        assert not served.errors


def test_parts_of_messages_of_many_connections_do_not_mix(engine: str, loop: str) -> None:
    with Served(echo, engine, loop=loop) as served:
        clients = [served.open() for _ in range(6)]
        grow(served, clients[0])
        payloads = [bytes([i]) * BIG for i in range(len(clients))]
        frames = [frame(BINARY, payload, key=os.urandom(4)) for payload in payloads]
        for start in range(0, len(frames[0]), 50_001):
            for client, data in zip(clients, frames, strict=True):
                client.wire.send(data[start : start + 50_001])
        for client, payload in zip(clients, payloads, strict=True):
            assert client.message() == payload
        assert not served.errors


def test_fragments_and_pings_between_them(engine: str, loop: str) -> None:
    payload = os.urandom(BIG)
    with Served(echo, engine, loop=loop) as served, served.open() as client:
        grow(served, client)
        client.send(
            frame(BINARY, payload[:100_000], fin=False),
            frame(PING, b"p"),
            frame(CONTINUATION, payload[100_000:], fin=False),
            frame(PING, b"q"),
            frame(CONTINUATION),
        )
        assert [client.read(), client.read()] == [Frame(PONG, b"p"), Frame(PONG, b"q")]
        assert client.message() == payload


def test_what_waits_for_a_slow_application_is_kept(engine: str, loop: str) -> None:
    messages = [os.urandom(100_000) for _ in range(15)]  # more than is read ahead

    async def script(app: Recorder) -> None:
        await app._send({"type": "websocket.accept"})
        while (event := await app.receive())["type"] == "websocket.receive":
            if event["bytes"] == b"wait":
                await app.gate.wait()
            await app._send(event | {"type": "websocket.send"})

    app = Recorder(script)
    with Served(app, engine, loop=loop) as served, served.open() as client:
        grow(served, client)
        client.binary(b"wait")
        client.send(*[frame(BINARY, message, key=os.urandom(4)) for message in messages[:3]])
        for message in messages[3:]:
            client.binary(message)
        served.call(app.gate.set)
        assert client.message() == b"wait"
        for message in messages:
            assert client.message() == message
        assert client.close() == (1000, "")


def test_broken_frames_and_leaving_end_as_before(engine: str, loop: str) -> None:
    with Served(echo, engine, loop=loop) as served:
        with served.open() as client:
            grow(served, client)
            client.send(frame(BINARY, b"x" * LARGE, key=None))
            assert client.read_close()[0] == 1002
        with served.open() as client:
            grow(served, client)
            client.send(frame(BINARY, b"x" * BIG)[:-1])
            client.wire.close()
        served.wait_until(lambda: not served.connections, "the connections are gone")
        assert not served.errors


def test_a_stopping_server_closes_them(engine: str, loop: str) -> None:
    with Served(echo, engine, loop=loop) as served, served.open() as client:
        grow(served, client)
        served.server.should_exit = True
        assert client.read_close()[0] == 1012


def test_tls_reads_by_itself(engine: str, loop: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = tmp_path / "certificate.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    payload = os.urandom(BIG)
    with Served(echo, engine, loop=loop, ssl_certfile=certificate) as served:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with served.open(tls=context) as client:
            for _ in range(5):
                client.binary(payload)
                assert client.message() == payload
            assert LargeReads not in protocols(served)
            assert client.close() == (1000, "")
