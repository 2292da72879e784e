"""A page that shows a server at work: who answers, a live stream, an upload. Plain ASGI, no dependencies.

    uvicorn examples.tour:app --workers 4

Every process that serves it is a worker of its own with its own counters; nothing is shared between them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PAGE = Path(__file__).with_suffix(".html").read_bytes()
STREAM_EVENTS = 60
"""Then the stream ends and the browser asks for a new one, which any worker may serve."""

started = time.monotonic()
answered = 0


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "http":
        global answered
        answered += 1
        method, serve = ROUTES.get(scope["path"], (scope["method"], not_found))
        if scope["method"] == method or (scope["method"], method) == ("HEAD", "GET"):
            await serve(receive, send)
        else:
            await answer(send, 405, b"text/plain", b"Method Not Allowed", (b"allow", method.encode()))


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def answer(send: Send, status: int, kind: bytes, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send(
        {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind), length, *headers]}
    )
    await send({"type": "http.response.body", "body": body})


async def not_found(receive: Receive, send: Send) -> None:
    await answer(send, 404, b"text/plain", b"Not Found")


async def page(receive: Receive, send: Send) -> None:
    await answer(send, 200, b"text/html; charset=utf-8", PAGE)


def myself() -> dict[str, Any]:
    return {"pid": os.getpid(), "answered": answered, "seconds": round(time.monotonic() - started, 1)}


async def who(receive: Receive, send: Send) -> None:
    """Say which worker this is. A connection stays with its worker, so this ends it: the next is anybody's."""
    body = json.dumps(myself()).encode()
    await answer(send, 200, b"application/json", body, (b"cache-control", b"no-store"), (b"connection", b"close"))


async def stream(receive: Receive, send: Send) -> None:
    """Server-sent events, one a second, until the client leaves or the worker stops."""
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    left = asyncio.ensure_future(disconnected(receive))
    try:
        for number in range(STREAM_EVENTS):
            event = json.dumps({"number": number, "time": time.strftime("%H:%M:%S"), **myself()})
            await send({"type": "http.response.body", "body": f"data: {event}\n\n".encode(), "more_body": True})
            await asyncio.wait([left], timeout=1)
            if left.done():
                return
    except asyncio.CancelledError:
        pass  # the worker stops: say so below instead of cutting the stream
    finally:
        left.cancel()
    await send({"type": "http.response.body", "body": b"event: over\ndata: {}\nretry: 300\n\n"})


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def upload(receive: Receive, send: Send) -> None:
    """Read a body of any size in constant memory, and tell what it was."""
    begun, size, pieces, digest = time.monotonic(), 0, 0, hashlib.sha256()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if piece := message.get("body", b""):
            size += len(piece)
            pieces += 1
            digest.update(piece)
        if not message.get("more_body", False):
            break
    seconds = time.monotonic() - begun
    report = {"size": size, "pieces": pieces, "sha256": digest.hexdigest(), "took": round(seconds, 4), **myself()}
    await answer(send, 200, b"application/json", json.dumps(report).encode())


ROUTES = {
    "/": ("GET", page),
    "/who": ("GET", who),
    "/stream": ("GET", stream),
    "/upload": ("POST", upload),
}
