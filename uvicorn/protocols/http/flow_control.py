"""Small parts that protocol classes of other packages are built from; ours do not use them."""

import asyncio
from typing import Any

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

CLOSE_HEADER = (b"connection", b"close")
HIGH_WATER_LIMIT = 65536  # bytes of a request body that may wait for the application


class FlowControl:
    """Pauses and resumes a transport's reading, and lets writers wait while it is full."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        self._is_writable_event = asyncio.Event()
        self._is_writable_event.set()

    async def drain(self) -> None:
        """Return when the transport takes more to write."""
        await self._is_writable_event.wait()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        if not self.write_paused:
            self.write_paused = True
            self._is_writable_event.clear()

    def resume_writing(self) -> None:
        if self.write_paused:
            self.write_paused = False
            self._is_writable_event.set()


async def service_unavailable(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """The application that answers 503 and closes."""
    body = b"Service Unavailable"
    start: Any = {
        "type": "http.response.start",
        "status": 503,
        "headers": [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            CLOSE_HEADER,
        ],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})


__all__ = ["CLOSE_HEADER", "HIGH_WATER_LIMIT", "FlowControl", "service_unavailable"]
