"""What tests/benchmarks/restarts.py deploys again and again: `deploy.json` in the working directory says how it is now.

It notes in the file `notes` what happens to it, one line each: nothing else tells from outside for every server.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

with open("deploy.json") as file:
    DEPLOY = json.load(file)


def note(line: str) -> None:
    fd = os.open("notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(fd, f"{line} {os.getpid()}\n".encode())
    os.close(fd)


note("started")
time.sleep(DEPLOY.get("boot", 0))
if DEPLOY.get("broken") == "import":
    raise RuntimeError("the cause of it all")


async def answer(send: Any, body: str) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


async def lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if DEPLOY.get("broken") == "lifespan":
            await send({"type": f"{message['type']}.failed", "message": "the cause of it all"})
            return
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            note("shut down")
            return
        if "dies" in DEPLOY:
            asyncio.get_running_loop().call_later(DEPLOY["dies"], os._exit, 1)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    path, _, seconds = scope["path"][1:].partition("/")
    if path == "pid":
        await answer(send, str(os.getpid()))
    elif path == "busy":  # long enough that another worker takes the next connection
        time.sleep(0.002)
        await answer(send, str(os.getpid()))
    elif path == "version":
        await answer(send, str(DEPLOY.get("version", 1)))
    elif path == "sleep":
        await asyncio.sleep(float(seconds))
        await answer(send, str(os.getpid()))
    elif path == "block":
        note("blocks")
        time.sleep(float(seconds))
        await answer(send, str(os.getpid()))
    elif path == "stream":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for _ in range(int(float(seconds) * 20)):
            await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
            await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b""})
    else:
        await answer(send, "hello")
    return None
