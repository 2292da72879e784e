"""The HTTP protocol classes on real sockets inside this process: a server without a `Server`, and a raw client.

Everything waits with a deadline. At the end of a `Served` block nothing may be left: no connection, no task, no
exception that only the event loop heard of.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from uvicorn.config import Config
from uvicorn.server.connection import HTTPConnection
from uvicorn.server.state import ServerState

DEADLINE = 30.0  # seconds; for what must happen, however slow the machine

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
PARSERS = ["httptools", "h11"]
EVENT_LOOPS = pytest.mark.parametrize("loop", list(LOOPS))

HOST = b"Host: example.org\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
LAST = b"GET /last HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"

Message = dict[str, Any]
App = Callable[[dict[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[Any]]


def request(
    target: str = "/", *fields: bytes, method: bytes = b"GET", version: bytes = b"1.1", body: bytes = b""
) -> bytes:
    """A request; a body is given its Content-Length unless a field frames it."""
    if body and not any(name in line.lower() for line in fields for name in (b"transfer-encoding", b"content-length")):
        fields = (*fields, b"Content-Length: %d" % len(body))
    head = b"%b %b HTTP/%b\r\n%b" % (method, target.encode(), version, HOST)
    return head + b"".join(line + b"\r\n" for line in fields) + b"\r\n" + body


POST5 = request("/", b"Content-Length: 5", method=b"POST")
NEVER: dict[str, Any] = {
    "timeout_keep_alive": 60,
    "timeout_request_header": 60,
    "timeout_request_body": 60,
    "timeout_write": 60,
}


def start(status: Any = 200, *headers: Any) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: Any = b"", more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def sends(*messages: Message) -> App:
    """The application that sends these messages and receives nothing."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(start(200, (b"content-length", b"5")))
    await send(body(b"hello"))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the whole request body, if it comes to its end."""
    data = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        data += message["body"]
        if not message["more_body"]:
            break
    await send(start(200))
    await send(body(data))


def run(work: Coroutine[Any, Any, None], loop: str = "asyncio", within: float = 90.0) -> None:
    """Run a coroutine in a new loop."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(asyncio.wait_for(work, within))


async def until(holds: Callable[[], Any], what: str, within: float = DEADLINE) -> None:
    """Wait until something holds; `what` says in words what was awaited."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while not holds():
        assert loop.time() < end, f"not within {within} s: {what}"
        await asyncio.sleep(0.002)


@dataclass
class Response:
    status: int
    reason: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    raw: bytes
    framing: str
    """length, chunked, close or none."""
    interim: list[int] = field(default_factory=list)

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]

    @property
    def says_close(self) -> bool:
        return self.all(b"connection") == [b"close"]


_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) ([^\r\n]*)\r\n((?:[!#-'*+.^_`|~0-9a-z-]+: ?[^\r\n]*\r\n)*)\r\n", re.IGNORECASE)


class Client:
    """A raw client. Reads what a strict client would: a response in one framing, or nothing at all."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.loop = asyncio.get_running_loop()
        self.buffer = b""
        self.ended: str | None = None
        """How the connection ended as far as it was read: eof, reset or None."""

    async def send(self, data: bytes) -> None:
        await asyncio.wait_for(self.loop.sock_sendall(self.sock, data), DEADLINE)

    async def read_more(self, within: float = DEADLINE) -> bool:
        """Read once; whether there was something."""
        try:
            data = await asyncio.wait_for(self.loop.sock_recv(self.sock, 262144), within)
        except ConnectionError:
            self.ended = "reset"
            return False
        if not data:
            self.ended = "eof"
        self.buffer += data
        return bool(data)

    async def need(self, size: int) -> bytes:
        found = bytearray(self.buffer)
        while len(found) < size:
            self.buffer = b""
            assert await self.read_more(), f"{self.ended} after {bytes(found[:500])!r}, {size} octets wanted"
            found += self.buffer
        self.buffer = bytes(found[size:])
        return bytes(found[:size])

    async def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            assert await self.read_more(), f"{self.ended} instead of a line"
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    async def response(self, method: bytes = b"GET") -> Response:
        interim: list[int] = []
        while True:
            while b"\r\n\r\n" not in self.buffer:
                assert await self.read_more(), f"{self.ended} instead of a response, after {self.buffer!r}"
            raw = await self.need(self.buffer.index(b"\r\n\r\n") + 4)
            match = _HEAD.fullmatch(raw)
            assert match, raw
            status = int(match[1])
            if status >= 200:
                break
            interim.append(status)
        headers = []
        for line in match[3].splitlines():
            name, _, value = line.partition(b":")
            headers.append((name.lower(), value.strip(b" ")))
        lengths = [value for name, value in headers if name == b"content-length"]
        encodings = [value for name, value in headers if name == b"transfer-encoding"]
        assert len(lengths) + len(encodings) <= 1, raw
        data = b""
        if method == b"HEAD" or status in (204, 304):
            framing = "length" if lengths else "chunked" if encodings else "none"
        elif encodings:
            assert encodings == [b"chunked"], raw
            framing = "chunked"
            while size := int(await self.line(), 16):
                data += await self.need(size)
                assert await self.need(2) == b"\r\n"
            assert await self.line() == b""
        elif lengths:
            framing = "length"
            data = await self.need(int(lengths[0]))
        else:
            framing = "close"
            data = await self.rest()
        return Response(status, match[2].decode(), headers, data, raw, framing, interim)

    async def rest(self, within: float = DEADLINE) -> bytes:
        """Read until the server has ended the connection; see `ended` for how."""
        pieces = [self.buffer]
        self.buffer = b""
        while await self.read_more(within):
            pieces.append(self.buffer)
            self.buffer = b""
        return b"".join(pieces)

    async def ends(self, within: float = DEADLINE) -> str:
        """How the connection ends; nothing more may come before."""
        assert (rest := await self.rest(within)) == b"", rest
        assert self.ended
        return self.ended

    async def ask(self, data: bytes = GET) -> Response:
        await self.send(data)
        return await self.response(data.partition(b" ")[0])

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Served:
    """An application served on a port of this machine by the real protocol class, with a real `Config`."""

    def __init__(
        self,
        app: App = hello,
        parser: str = "httptools",
        *,
        app_state: dict[str, Any] | None = None,
        protocol_class: type[HTTPConnection] | None = None,
        loop_errors: int = 0,
        **settings: Any,
    ) -> None:
        quiet = {"access_log": False, "log_config": None, "lifespan": "off", "ws": "none", "interface": "asgi3"}
        self.config = Config(app, http=parser, **(quiet | settings))  # type: ignore[arg-type]
        self.state = ServerState()
        self.app_state = app_state if app_state is not None else {}
        self.protocols: list[Any] = []
        self.log: list[str] = []
        self.records: list[logging.LogRecord] = []
        self.loop_errors: list[dict[str, Any]] = []
        self._protocol_class: Any = protocol_class
        self._clients: list[Client] = []
        self._handler = _Keep(self)

    async def __aenter__(self) -> Served:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(lambda _, context: self.loop_errors.append(context))
        self.config.load()
        self.state.set_headers(self.config.encoded_headers, date=self.config.date_header)
        self._logger = logging.getLogger("uvicorn.error")
        self._before = self._logger.level, self._logger.propagate
        self._logger.setLevel(logging.DEBUG)
        self._logger.propagate = False
        self._logger.addHandler(self._handler)
        self.server = await self.loop.create_server(self.make, "127.0.0.1", 0)
        self.port: int = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        for client in self._clients:
            client.close()
        self.server.close()
        try:
            if error is None:
                await until(lambda: not self.state.connections, "every connection has ended")
                await until(lambda: not self.state.tasks, "every task has ended")
                assert not self.loop_errors, self.loop_errors
            else:
                for protocol in self.protocols:
                    protocol.transport.abort()
                for task in list(self.state.tasks):
                    task.cancel()
        finally:
            self._logger.removeHandler(self._handler)
            self._logger.level, self._logger.propagate = self._before
            self._logger.setLevel(self._before[0])

    def make(self) -> Any:
        protocol_class: Any = self._protocol_class or self.config.http_protocol_class
        protocol = protocol_class(
            config=self.config, server_state=self.state, app_state=self.app_state, _loop=self.loop
        )
        self.protocols.append(protocol)
        return protocol

    async def connect(self, receive_buffer: int | None = None, send_buffer: int | None = None) -> Client:
        """A client whose connection the server has seen."""
        known = len(self.protocols)
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if send_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        client = Client(sock)
        self._clients.append(client)
        await asyncio.wait_for(self.loop.sock_connect(sock, ("127.0.0.1", self.port)), DEADLINE)
        await until(
            lambda: len(self.protocols) > known and self.protocols[-1].transport is not None, "the server has accepted"
        )
        return client

    async def ask(self, data: bytes = GET) -> Response:
        """One request over a connection of its own, which is closed behind it."""
        client = await self.connect()
        response = await client.ask(data)
        client.close()
        return response

    @property
    def connection(self) -> Any:
        """The protocol object of the newest connection."""
        return self.protocols[-1]


class _Keep(logging.Handler):
    def __init__(self, served: Served) -> None:
        super().__init__()
        self.served = served

    def emit(self, record: logging.LogRecord) -> None:
        self.served.log.append(record.getMessage())
        self.served.records.append(record)


class Gate:
    """An application whose /slow waits until it is let go."""

    def __init__(self, app: App = hello) -> None:
        self.app = app
        self.inside = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            self.inside.set()
            await self.go.wait()
        await self.app(scope, receive, send)


def stop(served: Served) -> None:
    served.state.draining = "stop"
    for connection in list(served.state.connections):
        connection.shutdown()


async def early(scope: Any, receive: Any, send: Any) -> None:
    """Answer without a look at the body."""
    await send(start(200, (b"content-length", b"5")))
    await send(body(b"early"))


class Finished(asyncio.Future[None]):
    """What stands for a task that ended at its first step."""

    def set_name(self, name: object) -> None:
        assert str(name)


def eager(loop: Any, coroutine: Any, *, context: Any = None, **_: Any) -> Any:
    """A task factory that runs a request's first step at once, as `asyncio.eager_task_factory` of Python 3.12 does."""
    if coroutine.__qualname__ != "RequestResponseCycle.run":
        return asyncio.Task(coroutine, loop=loop, context=context)
    finished = Finished(loop=loop)
    with pytest.raises(StopIteration):
        (context or contextvars.copy_context()).run(coroutine.send, None)
    finished.set_result(None)
    return finished


def is_refusal(data: bytes, status: int) -> bool:
    return data.startswith(b"HTTP/1.1 %d " % status) and b"\r\nconnection: close\r\n" in data
