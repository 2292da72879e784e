"""A server in a thread, its application in the test, and a client that writes and reads bytes.

The server is the whole one, HTTP in front: what is tested here went through the upgrade. The client is made here, so
that it can do what no library would, and it checks every frame it reads by the letter of RFC 6455.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from tests.support.wire import Response, Wire
from uvicorn.config import Config
from uvicorn.server import Server

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

ENGINES = ["websockets-sansio", "wsproto"]
KEY = base64.b64encode(bytes(range(16))).decode()
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(0)
        self.lines: list[str] = []
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(f"{record.levelname}: {self.format(record)}")


class Served:
    """`app` behind a server of its own, until the `with` ends."""

    def __init__(self, app: App, ws: str = "websockets-sansio", *, uds: str | None = None, **options: Any) -> None:
        quiet = {"log_config": None, "lifespan": "off", "timeout_graceful_shutdown": 15}
        self.sock: socket.socket | None = None
        address: dict[str, Any] = {"uds": uds} if uds else {"port": 0}
        self.server = Server(Config(app, ws=ws, **address, **(quiet | options)))
        self.uds = uds
        self.log = _Lines()
        self._ready = threading.Event()
        self.server.on_ready = self._on_ready
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.port = 0
        self._clients: list[Client] = []

    def _serve(self) -> None:
        self.server.run()

    def _on_ready(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._ready.set()

    def __enter__(self) -> Served:
        logger = logging.getLogger("uvicorn.error")
        self._level = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(self.log)
        self._thread.start()
        assert self._ready.wait(60), "the server did not start in a minute"
        if not self.uds:
            self.port = self.server.servers[0].sockets[0].getsockname()[1]  # type: ignore[union-attr]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
        for client in self._clients:
            client.wire.close()
        logger = logging.getLogger("uvicorn.error")
        logger.removeHandler(self.log)
        logger.setLevel(self._level)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive(), f"the server did not stop in a minute; its log: {self.log.lines}"

    def call(self, function: Callable[[], Any]) -> Any:
        """Run `function` in the loop of the server and return its result."""
        assert self.loop is not None

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(60)

    @property
    def connections(self) -> set[Any]:
        return self.server.server_state.connections

    def lines(self, *, containing: str) -> list[str]:
        return [line for line in self.log.lines if containing in line]

    def wait_for_line(self, text: str, timeout: float = 30) -> str:
        deadline = time.monotonic() + timeout
        while not (found := self.lines(containing=text)):
            assert time.monotonic() < deadline, f"no line with {text!r} in {timeout} s: {self.log.lines}"
            time.sleep(0.005)
        return found[0]

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not in {timeout} s: {what}; log: {self.log.lines}"
            time.sleep(0.005)

    @property
    def errors(self) -> list[str]:
        """What no client may cause: errors and tracebacks."""
        return [line for line in self.log.lines if line.startswith("ERROR") or "Traceback" in line]

    def connect(self, *, timeout: float = 30, tls: Any = None) -> Client:
        client = Client(Wire.connect(self.uds or self.port, timeout=timeout, tls=tls))
        self._clients.append(client)
        return client

    def open(self, path: str = "/", headers: Iterable[str] = (), early: bytes = b"", **kw: Any) -> Client:
        """Connect and shake hands; `early` goes out in the same segment as the request."""
        client = self.connect(**kw)
        client.wire.send(handshake(path, headers) + early)
        response = client.read_handshake()
        assert response.status == 101, response.raw
        return client


def handshake(
    path: str = "/",
    headers: Iterable[str] = (),
    *,
    method: str = "GET",
    key: str | None = KEY,
    version: str | None = "13",
    http: str = "1.1",
) -> bytes:
    lines = [f"{method} {path} HTTP/{http}", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
    if key is not None:
        lines.append(f"Sec-WebSocket-Key: {key}")
    if version is not None:
        lines.append(f"Sec-WebSocket-Version: {version}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")


def mask(payload: bytes, key: bytes) -> bytes:
    if not any(key):
        return payload
    if len(payload) < 1000:  # as the specification words it
        return bytes(octet ^ key[i & 3] for i, octet in enumerate(payload))
    keys = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")).to_bytes(len(payload), "big")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = b"\x11\x22\x33\x44",
    size: int | None = None,
    length: int | None = None,
) -> bytes:
    """One frame of a client. `key` None: unmasked; `size` forces the octets of the length; `length` lies about it."""
    count = len(payload) if length is None else length
    if size is None:
        size = 0 if count < 126 else 2 if count < 65536 else 8
    short = count if size == 0 else 126 if size == 2 else 127
    head = bytes([fin << 7 | rsv << 4 | opcode, (key is not None) << 7 | short])
    head += count.to_bytes(size, "big") if size else b""
    return head + (payload if key is None else key + mask(payload, key))


def close_frame(code: int | None = 1000, reason: str = "") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())


@dataclass(frozen=True)
class Frame:
    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def code(self) -> int | None:
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2], "big") if self.payload else None

    @property
    def reason(self) -> str:
        assert self.opcode == CLOSE, self
        return self.payload[2:].decode()


class Client:
    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.wire.close()

    def read_handshake(self) -> Response:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.wire.read_exactly(1)
        status, _, block = head.partition(b"\r\n")
        fields = [line.partition(b": ") for line in block.split(b"\r\n") if line]
        headers = [(name.lower(), value) for name, _, value in fields]
        response = Response(int(status.split()[1]), status.split(b" ", 2)[2].decode(), headers, b"", head)
        if response.status != 101 and (length := response.get("content-length")) is not None:
            response.body = self.wire.read_exactly(int(length))
        return response

    def send(self, *frames: bytes) -> None:
        self.wire.send(b"".join(frames))

    def text(self, text: str) -> None:
        self.send(frame(TEXT, text.encode(), key=os.urandom(4)))

    def binary(self, payload: bytes) -> None:
        self.send(frame(BINARY, payload, key=os.urandom(4)))

    def read(self) -> Frame:
        """Read one frame, which must be one that a server may send."""
        first, second = self.wire.read_exactly(2)
        assert second < 0x80, "a server must not mask (5.1)"
        length = second
        if second == 126:
            length = int.from_bytes(self.wire.read_exactly(2), "big")
            assert length > 125, "length not in its shortest form (5.2)"
        elif second == 127:
            length = int.from_bytes(self.wire.read_exactly(8), "big")
            assert length > 65535, "length not in its shortest form (5.2)"
        result = Frame(first & 0x0F, self.wire.read_exactly(length), first >= 0x80, first >> 4 & 7)
        assert result.rsv in (0, 4), result
        if result.opcode >= CLOSE:
            assert result.fin, "control frames are never fragmented (5.5)"
            assert result.rsv == 0, "control frames are never compressed (RFC 7692 6)"
            assert length < 126, "control frames carry 125 octets at most (5.5)"
        return result

    def message(self) -> str | bytes:
        result = self.read()
        assert result.opcode in (TEXT, BINARY), result
        assert result.rsv == 0, result
        return result.payload.decode() if result.opcode == TEXT else result.payload

    def ended(self, within: float = 30) -> str | None:
        """Return how the connection ended, after reading out what was still to come."""
        self.wire.timeout = within
        self.wire.read_until_close()
        return self.wire.ended

    def read_close(self) -> tuple[int | None, str]:
        """Read frames up to the close frame; return its code and reason."""
        while True:
            result = self.read()
            if result.opcode == CLOSE:
                return result.code, result.reason

    def close(self, code: int = 1000, reason: str = "") -> tuple[int | None, str]:
        """Shake hands for the end; return what the server echoed."""
        self.send(close_frame(code, reason))
        echoed = self.read_close()
        assert self.ended() == "eof"
        return echoed


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Send back what comes."""
    assert scope["type"] == "websocket", scope
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send(message | {"type": "websocket.send"})


class Recorder:
    """An application that accepts, and lets the test look at each event and send by itself.

    `script(receive, send)` runs after the accept; without one, every event is recorded until the disconnect.
    """

    def __init__(self, script: Callable[[Recorder], Awaitable[Any]] | None = None, **accept: Any) -> None:
        self.script = script
        self.accept = accept
        self.events: list[dict[str, Any]] = []
        self.errors: list[BaseException] = []
        self.scope: dict[str, Any] = {}
        self.done = threading.Event()
        self.gate: asyncio.Event = None  # type: ignore[assignment]  # made in the loop
        self.opened = threading.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket", scope
        self.scope = scope
        self._receive, self._send = receive, send
        self.gate = asyncio.Event()
        try:
            await self.receive()
            if self.script is None:
                await send({"type": "websocket.accept", **self.accept})
                self.opened.set()
                while (await self.receive())["type"] != "websocket.disconnect":
                    pass
            else:
                await self.script(self)
        finally:
            self.done.set()

    async def receive(self) -> dict[str, Any]:
        event: dict[str, Any] = await self._receive()
        self.events.append(event)
        return event

    async def send(self, kind: str, **fields: Any) -> None:
        await self._send({"type": f"websocket.{kind}", **fields})

    async def try_send(self, kind: str, **fields: Any) -> BaseException | None:
        try:
            await self.send(kind, **fields)
        except Exception as exc:
            self.errors.append(exc)
            return exc
        return None

    def finished(self, timeout: float = 30) -> list[dict[str, Any]]:
        assert self.done.wait(timeout), f"the application did not return in {timeout} s; it saw {self.events}"
        return self.events

    @property
    def messages(self) -> list[str | bytes]:
        return [
            event["text"] if "text" in event else event["bytes"]
            for event in self.events
            if event["type"] == "websocket.receive"
        ]
