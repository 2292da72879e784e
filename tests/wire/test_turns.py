"""An application that sends without ever waiting leaves room for the other connections."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import Running, Wire

APP = """\
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            await send({"type": (await receive())["type"] + ".complete"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while scope["path"] == "/endless":
        await send({"type": "http.response.body", "body": b"x" * 4096, "more_body": True})
    await send({"type": "http.response.body", "body": b"ok"})
"""
ENDLESS = b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n"
SHORT = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(params=["httptools", "h11"])
def server(request: pytest.FixtureRequest, uvicorn: Callable[..., Running]) -> Running:
    return uvicorn("--http", request.param, "--timeout-graceful-shutdown", "1", app=APP)


def asked(server: Running) -> Any:
    with Wire.connect(server.address) as wire:
        return wire.request(SHORT).body


def test_after_its_client_was_lost(server: Running) -> None:
    with Wire.connect(server.address) as wire:
        wire.send(ENDLESS)
        wire.sock.recv(1)
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
    assert asked(server) == b"ok"


def test_while_its_client_reads_everything_at_once(server: Running) -> None:
    with Wire.connect(server.address) as wire:
        wire.send(ENDLESS)
        wire.sock.recv(1)
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set() and wire.sock.recv(1 << 20):
                pass

        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert [asked(server) for _ in range(3)] == [b"ok"] * 3
        finally:
            stop.set()
            reader.join()
