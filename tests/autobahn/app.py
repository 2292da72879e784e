"""What the cases are played against: an application that sends back what comes."""

ECHO = """\
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        print("READY", flush=True)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send(message | {"type": "websocket.send"})
"""
