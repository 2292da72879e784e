"""Sockets that a server is given belong to others too: other workers accept from them at the same time."""

from __future__ import annotations

import asyncio
import os
import socket

from uvicorn import Config, Server


def test_a_shared_socket_never_blocks_while_a_worker_starts():
    """Else an accept of another worker, that lost the race for a connection, would hold up all that it serves."""
    seen = []
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        sock.setblocking(False)
        given = socket.socket(fileno=os.dup(sock.fileno()))  # as a worker gets it: a number, nothing is known of it

        async def app(scope, receive, send):
            await receive()
            seen.append(os.get_blocking(sock.fileno()))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            seen.append(os.get_blocking(sock.fileno()))
            await send({"type": "lifespan.shutdown.complete"})

        server = Server(Config(app, lifespan="on", log_level="critical"))
        server.on_ready = lambda: setattr(server, "should_exit", True)
        asyncio.run(server.serve(sockets=[given]))
        assert os.get_blocking(sock.fileno()) is False
    assert seen == [False, False]
