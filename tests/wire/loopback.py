"""The protocol object of the server without a network: thousands of exchanges a second, cut where the test wants.

A `Loopback` is the transport: it gives the protocol what the client sends, piece by piece, and keeps what it writes.
Between two pieces the loop runs until nothing is left to do, as between two segments that arrive apart.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from uvicorn.config import Config
from uvicorn.server.state import ServerState

DATE = re.compile(rb"(?<=\r\ndate: )[^\r]*")


@dataclass
class Call:
    """What the application saw of one request."""

    scope: dict[str, Any]
    body: bytes = b""
    whole: bool = False
    """The body came to its end, not to a disconnect."""


@dataclass
class Outcome:
    calls: list[Call] = field(default_factory=list)
    written: bytes = b""
    closed: bool = False
    """The server has ended the connection, before the client did."""
    errors: list[str] = field(default_factory=list)

    @property
    def answers(self) -> list[int]:
        """The statuses that were written, in order. Bodies of these tests never look like a status line."""
        return [int(status) for status in re.findall(rb"(?:^|\r\n\r\n|#)HTTP/1\.1 (\d\d\d) ", self.written)]


class Loopback(asyncio.Transport):
    """The server's end of a connection. Its client takes all that is written at once, unless it is `slow`."""

    HIGH_WATER = 65_536

    def __init__(self, protocol: asyncio.Protocol, *, slow: bool = False) -> None:
        super().__init__({"peername": ("192.0.2.1", 1), "sockname": ("192.0.2.2", 2)})
        self.protocol = protocol
        self.written = bytearray()
        """What the client has got."""
        self.reading = True
        self.ended = False
        """Our side said that it writes no more, by whatever call."""
        self.was_reset = False
        """By the server."""
        self._slow = slow
        self._waiting = bytearray()
        self._paused_writing = False
        self._closing = False
        self._lost = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended or self._closing, f"written after the end: {bytes(data)!r}"
        if self._closing:
            return
        self._waiting += data
        if not self._slow:
            self.take(len(self._waiting))
        elif len(self._waiting) > self.HIGH_WATER and not self._paused_writing:
            self._paused_writing = True
            self.protocol.pause_writing()

    def take(self, octets: int) -> None:
        """The client reads some more."""
        self.written += self._waiting[:octets]
        del self._waiting[:octets]
        if self._paused_writing and len(self._waiting) <= self.HIGH_WATER // 4:
            self._paused_writing = False
            self.protocol.resume_writing()
        if self._closing and not self._waiting:
            self._lose()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.ended = self._closing = True
        self.reading = False
        if not self._waiting:
            self._lose()

    def abort(self) -> None:
        self.was_reset = True
        self.leave()

    def leave(self) -> None:
        """The client is gone, with or without a word."""
        self._waiting.clear()
        self.close()

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = not self._closing

    def is_reading(self) -> bool:
        return self.reading

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return len(self._waiting)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return 16384, 65536

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol


class Client:
    """Makes exchanges with the protocol class of one parser. To be used inside a running loop of plain asyncio."""

    def __init__(self, parser: str, app: Any = None, **options: Any) -> None:
        quiet = {"access_log": False, "log_config": None, "log_level": "critical", "date_header": False}
        options = {"http": parser, "interface": "asgi3", "ws": "none", "lifespan": "off"} | quiet | options
        self.config = Config(app or self._app, **options)
        self.config.load()
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(lambda _, context: self._outcome.errors.append(repr(context)))
        self.state = ServerState()
        self.state.set_headers(self.config.encoded_headers, date=False)
        self._outcome = Outcome()

    async def _app(self, scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        call = Call({key: value for key, value in scope.items() if key not in ("client", "server", "asgi", "state")})
        headers = list(call.scope["headers"])
        self._outcome.calls.append(call)
        while not call.whole:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            call.body += message["body"]
            call.whole = not message["more_body"]
        if scope["headers"] != headers:
            self._outcome.errors.append(f"headers changed to {scope['headers']}")
        call.scope["headers"] = headers
        if call.whole:
            body = b"%d#" % len(self._outcome.calls)
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
            )
            await send({"type": "http.response.body", "body": body})

    async def settle(self) -> None:
        """Run all that is ready, and what that makes ready."""
        ready = self.loop._ready  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        for _ in range(10_000):
            if not ready:
                return
            await asyncio.sleep(0)
        raise AssertionError("the loop does not come to rest")

    def connect(self, *, slow: bool = False) -> Loopback:
        """Return a new connection, as the server sees it."""
        protocol = self.config.http_protocol_class(  # type: ignore[union-attr]
            config=self.config, server_state=self.state, app_state={}, _loop=self.loop
        )
        transport = Loopback(protocol, slow=slow)
        protocol.connection_made(transport)
        return transport

    @property
    def errors(self) -> list[str]:
        """What reached the loop instead of being handled, since the last exchange began."""
        return self._outcome.errors

    async def exchange(self, pieces: Sequence[bytes], *, half_close: bool = False) -> Outcome:
        """Send the pieces one after the other, whatever is answered; then leave."""
        self._outcome = outcome = Outcome()
        transport = self.connect()
        try:
            for piece in pieces:
                if transport.is_closing():
                    break
                await self._wait_until_reading(transport)
                transport.protocol.data_received(piece)  # type: ignore[union-attr]
                await self.settle()
            if half_close and not transport.is_closing() and not transport.ended:
                if not transport.protocol.eof_received():  # type: ignore[union-attr]
                    transport.close()
                await self.settle()
        except Exception as error:
            outcome.errors.append(f"{type(error).__name__}: {error}")
        outcome.closed = transport.ended
        transport.leave()
        await self.settle()
        outcome.written = DATE.sub(b"", bytes(transport.written))
        if self.state.connections or self.state.tasks:
            outcome.errors.append(f"left: {self.state.connections} {self.state.tasks}")
        return outcome

    async def _wait_until_reading(self, transport: Loopback) -> None:
        if not transport.reading:
            await self.settle()
            assert transport.reading or transport.is_closing(), "the server has stopped reading, and is idle"
