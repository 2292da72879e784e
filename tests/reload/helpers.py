"""Applications that are edited, and questions to the server that serves them."""

from __future__ import annotations

import http.client
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.processes import Running

DEADLINE = 30  # seconds; the machine may be busy

APP = """\
import os
version = "{version}"
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({{"type": message["type"] + ".complete"}})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({{"type": "websocket.accept"}})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    body = (version if scope["path"] != "/pid" else str(os.getpid())).encode()
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    if scope["path"] == "/stream":
        import asyncio
        while True:
            await send({{"type": "http.response.body", "body": b"data: " + body, "more_body": True}})
            await asyncio.sleep(0.05)
    await send({{"type": "http.response.body", "body": body}})
"""


def versioned(version: str) -> str:
    return APP.format(version=version)


def save(path: Path, text: str) -> None:
    """Save as editors do: the file is never half there."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)


def start(uvicorn: Callable[..., Running], *args: Any, **options: Any) -> Running:
    """Start with --reload; the first child serves, and the watcher watches, when this returns."""
    options.setdefault("app", versioned("one"))
    ready = "Started (reloader|parent) process"
    server = uvicorn("--reload", *args, ready=ready, **options)
    if options["app"] == versioned("one"):
        server.wait_for("Application startup complete", timeout=DEADLINE)
    return server


def get(server: Running, path: str = "/", timeout: float = DEADLINE) -> str:
    """Return the body of the answer; the queue of the socket holds the request while there is no child."""
    connection = http.client.HTTPConnection("127.0.0.1", timeout=timeout)
    if isinstance(server.address, str):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        connection.sock.connect(server.address)
    else:
        connection = http.client.HTTPConnection(*server.address, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def until_served(server: Running, version: str) -> None:
    """Wait until new code answers. A child that is just ending may reset a connection: then it is asked again."""
    deadline = time.monotonic() + DEADLINE
    answer = None
    while answer != version:
        assert time.monotonic() < deadline, f"{version!r} is not served, but {answer!r}\n{server.log}"
        try:
            answer = get(server)
        except (OSError, http.client.HTTPException) as error:
            answer = repr(error)
        if answer != version:
            time.sleep(0.02)  # what we wait for is another process's answer


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while os.path.exists(f"/proc/{pid}") and not is_zombie(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def watcher_of(server: Running) -> int:
    """Return the pid of the process that watches the files (Linux)."""
    return next(
        pid for pid in server.descendants() if b"reload.watch_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
