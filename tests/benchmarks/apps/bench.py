"""What is served in most scenarios: as little as possible, so that the server's own work is what is measured."""

from __future__ import annotations

import os
from typing import Any

HELLO = b"Hello, world!"
SIZES = {"/10k": b"x" * 10_240, "/1m": b"x" * (1 << 20)}
CHUNK = b"x" * 1024


async def answer(send: Any, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"]
    if path == "/":
        await answer(send, HELLO)
    elif path == "/pid":
        await answer(send, str(os.getpid()).encode())
    elif path in SIZES:
        await answer(send, SIZES[path])
    elif path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for _ in range(64):
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    elif path == "/upload":
        size = 0
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        await answer(send, str(size).encode())
