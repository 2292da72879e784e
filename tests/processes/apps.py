"""Applications for the process tests, as sources: each test writes its own app.py, and may change it."""

from __future__ import annotations

PID = """\
import asyncio, os, signal, sys, time

VERSION = "one"

async def answer(send, body, status=200):
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                os.write(1, f"shut down {os.getpid()}\\n".encode())
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"]
    if path == "/pid":
        await answer(send, str(os.getpid()).encode())
    elif path == "/version":
        await answer(send, VERSION.encode())
    elif path == "/worker":
        await answer(send, os.environ["UVICORN_WORKER"].encode())
    elif path.startswith("/sleep/"):
        os.write(1, b"sleeps\\n")
        await asyncio.sleep(float(path[7:]))
        await answer(send, str(os.getpid()).encode())
    elif path.startswith("/block/"):
        os.write(1, b"blocks\\n")
        time.sleep(float(path[7:]))
        await answer(send, str(os.getpid()).encode())
    elif path == "/fail":
        raise RuntimeError("asked to")
    elif path.startswith("/status/"):
        await answer(send, b"as asked", int(path[8:]))
    elif path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10_000):
            await send({"type": "http.response.body", "body": b"tick\\n", "more_body": True})
            await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": b""})
    else:
        await answer(send, b"hello")
"""
"""Answers with its pid, its version, its worker number; sleeps and blocks, and says when it does; streams for 200 s;
fails, or answers with the status it is asked for.

What it writes to standard output tells a test that a request has come so far, which nothing else tells from outside.
"""


def with_version(version: str) -> str:
    return PID.replace('"one"', repr(version))


def before(*lines: str) -> str:
    """The application, after these lines at its import."""
    return "\n".join(lines) + "\n" + PID
