"""What commands that a test starts serve, as a source."""

ECHO = """\
import json, os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
            os.write(1, b"READY\\n")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    if scope["path"] != "/":
        seen = {name: scope[name] for name in ("scheme", "server", "client", "path")}
        await send({"type": "websocket.send", "text": json.dumps(seen | {"pid": os.getpid()})})
    while (message := await receive())["type"] == "websocket.receive":
        await send(message | {"type": "websocket.send"})
    os.write(1, b"END %d %s\\n" % (message["code"], message["reason"].encode()))
"""
"""Sends back what comes; under any path but `/` it first tells of its scope and its process.

A line says that it is READY, and one with code and reason that a connection has its END; each is written at once, so
that lines of several processes do not mix.
"""
