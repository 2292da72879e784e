"""What the managers' tests serve. How it behaves at the start is in its environment, so that one file does for all."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time

if os.environ.get("BROKEN") == "import":
    raise RuntimeError("broken on purpose")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await receive()
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": f"{message['text']} from {scope['scheme']}"})
    else:
        await request(scope, receive, send)


async def lifespan(receive, send):
    await receive()
    await asyncio.sleep(float(os.environ.get("STARTUP", "0")))
    while "GATE" in os.environ and not os.path.exists(os.environ["GATE"]):
        await asyncio.sleep(0.02)
    if os.environ.get("BROKEN") == "lifespan" or os.path.exists("broken"):
        await send({"type": "lifespan.startup.failed", "message": "broken on purpose"})
        return
    print(f"lifespan started in {os.getpid()}", flush=True)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.sleep(float(os.environ.get("SHUTDOWN", "0")))
    print(f"lifespan ended in {os.getpid()}", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def request(scope, receive, send):
    path, query = scope["path"].removeprefix(scope["root_path"]), scope["query_string"].decode()
    body = str(os.getpid()).encode()
    if path == "/scope":
        seen = {name: scope.get(name) for name in ("client", "server", "scheme", "http_version", "root_path")}
        seen["host"] = next((value.decode() for name, value in scope["headers"] if name == b"host"), None)
        body = json.dumps(seen).encode()
    elif path == "/environ":
        body = json.dumps(dict(os.environ)).encode()
    elif path == "/fds":
        body = json.dumps(sorted(set(listening()))).encode()
    elif path == "/sleep":
        await asyncio.sleep(float(query))
    elif path == "/hang":
        time.sleep(float(query))  # the loop stands still: that is the point
    elif path == "/hold":
        await hold(query, send)
        return
    elif path == "/upload":
        size = 0
        while True:
            message = await receive()
            size += len(message["body"])
            if not message.get("more_body"):
                break
        body = str(size).encode()
    elif path == "/version":
        with open("version") as file:
            body = file.read().encode()
    elif path == "/fail":
        raise RuntimeError("failed on purpose")
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


async def hold(gate, send):
    """Begin an answer, and end it when the file `gate` is there: until then this request is certainly in flight."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"held\n", "more_body": True})
    while not os.path.exists(gate):
        await asyncio.sleep(0.02)
    await send({"type": "http.response.body", "body": b"let go\n"})


def listening():
    """What the sockets of this process that listen are bound to."""
    for fd in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            sock = socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
        with sock:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield str(sock.getsockname())
