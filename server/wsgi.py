"""WSGI applications (PEP 3333): each request runs in a thread, its body and its answer pass through as they come.

a2wsgi's middleware is used where it is installed, as it always was; this one otherwise.

    loop                                          thread
    receive() <---- asked for each piece --------- wsgi.input.read()
    send()    <---- Outbox, at most 64 KiB ahead -- write(), the iterable
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from types import TracebackType
from typing import Any
from urllib.parse import unquote_to_bytes

from .utils import ClientDisconnected

Environ = dict[str, Any]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
StartResponse = Callable[..., Callable[[bytes], object]]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

_AHEAD = 65536  # octets of an answer that may wait for the client before the application's thread waits too
_INPUT_BUFFER = 65536  # octets


class _WSGIMiddleware:
    """An ASGI 3 application that runs a WSGI application in a pool of `workers` threads."""

    def __init__(self, app: WSGIApp, workers: int = 10) -> None:
        self.app = app
        self.executor = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="wsgi")

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"WSGI knows no {scope['type']} connections")
        await WSGIResponder(self.app, self.executor, scope)(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.executor.shutdown(wait=False, cancel_futures=True)
        await send({"type": "lifespan.shutdown.complete"})


class WSGIResponder:
    """One request: the application's call in its thread, and what passes between it and the loop."""

    def __init__(self, app: WSGIApp, executor: ThreadPoolExecutor, scope: Any) -> None:
        self.app = app
        self.executor = executor
        self.scope = scope
        self._outbox: Outbox
        self._head: dict[str, Any] | None = None  # what start_response() was given, while it is not sent
        self._head_sent = False

    async def __call__(self, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        body = RequestBody(loop, receive, more=_announces_body(self.scope["headers"]))
        self._outbox = outbox = Outbox(loop)
        environ = build_environ(self.scope, None, io.BufferedReader(body, _INPUT_BUFFER))
        call = loop.run_in_executor(self.executor, contextvars.copy_context().run, self._run, environ)
        call.add_done_callback(lambda _: outbox.ready.set())
        watch: asyncio.Task[None] | None = None
        try:
            while not call.done() or outbox.filled:
                await outbox.ready.wait()
                for message in outbox.take():
                    await send(message)
                if watch is None and not body.more and not outbox.complete:
                    watch = loop.create_task(_watch(receive, outbox))
            await call
        except ClientDisconnected:
            pass  # raised in the application by reading or writing; it had no better use for it
        finally:
            outbox.abandon()  # a thread that still runs finds out at its next write
            if not call.cancel() and not call.cancelled():
                call.exception()  # seen, where something else ends this
            if watch is not None:
                watch.cancel()

    # -- In the thread --

    def _run(self, environ: Environ) -> None:
        result: Iterable[bytes] | None = None
        try:
            result = self.app(environ, self.start_response)
            if isinstance(result, (list, tuple)):  # whole, so its length is known
                self._end(b"".join(result))
            else:
                for data in result:
                    self.write(data)
                self._end(b"" if self._head_sent else None)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def start_response(
        self, status: str, response_headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], object]:
        """Take status and headers; they are sent with the first piece of the body, and may be replaced until then."""
        if exc_info is not None:
            try:
                if self._head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle through the traceback
        elif self._head is not None or self._head_sent:
            raise AssertionError("start_response() was called again without exc_info")
        self._head = {
            "type": "http.response.start",
            "status": int(status.split(" ", 1)[0]),
            "headers": [
                (name.strip().lower().encode("latin-1"), value.encode("latin-1")) for name, value in response_headers
            ],
        }
        return self.write

    def write(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client is slow. ClientDisconnected when it has gone."""
        if data:
            self._send_head()
            self._outbox.put({"type": "http.response.body", "body": data, "more_body": True}, len(data))

    def _end(self, rest: bytes | None) -> None:
        """Send what is left; None: nothing was sent at all, and nothing comes."""
        rest = rest or b""
        if not self._head_sent and self._head is not None and self.scope["method"] != "HEAD":
            status, headers = self._head["status"], self._head["headers"]
            if status >= 200 and status not in (204, 304) and not any(name == b"content-length" for name, _ in headers):
                headers.append((b"content-length", b"%d" % len(rest)))
        self._send_head()
        self._outbox.put({"type": "http.response.body", "body": rest, "more_body": False}, len(rest))

    def _send_head(self) -> None:
        if not self._head_sent:
            if self._head is None:
                raise AssertionError("the application has not called start_response()")
            self._outbox.put(self._head, 0)
            self._head_sent = True


class Outbox:
    """ASGI messages on their way from a thread to the loop; the thread waits while too much is under way."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ready = asyncio.Event()
        """Set, in the loop, when there is something to take."""
        self.complete = False
        """The last message of the response is in."""
        self._loop = loop
        self._messages: list[dict[str, Any]] = []
        self._octets = 0
        self._abandoned = False
        self._changed = threading.Condition()

    @property
    def filled(self) -> bool:
        """Whether messages wait."""
        return bool(self._messages)

    def put(self, message: dict[str, Any], octets: int) -> None:
        """Add a message (thread)."""
        with self._changed:
            while self._octets and self._octets + octets > _AHEAD and not self._abandoned:
                self._changed.wait()
            if self._abandoned:
                raise ClientDisconnected("the client has gone")
            first = not self._messages
            self._messages.append(message)
            self._octets += octets
            self.complete = message.get("more_body") is False
        if first:
            self._loop.call_soon_threadsafe(self.ready.set)

    def take(self) -> list[dict[str, Any]]:
        """Return what waits (loop)."""
        self.ready.clear()
        with self._changed:
            messages, self._messages = self._messages, []
            self._octets = 0
            self._changed.notify_all()
        return messages

    def abandon(self) -> None:
        """Nobody takes anything any more (loop)."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()


class RequestBody(io.RawIOBase):
    """`wsgi.input`: asks the loop for the next piece when the application reads (thread)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Receive, *, more: bool) -> None:
        self.more = more
        """Whether more may come."""
        self._loop = loop
        self._receive = receive
        self._piece = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._piece and self.more:
            self._piece = self._next()
        size = min(len(buffer), len(self._piece))
        buffer[:size] = self._piece[:size]
        self._piece = self._piece[size:]
        return size

    def _next(self) -> bytes:
        async def receive() -> Any:
            return await self._receive()

        try:
            message = asyncio.run_coroutine_threadsafe(receive(), self._loop).result()
        except CancelledError:
            raise ClientDisconnected("the server has stopped") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnected("the client has gone before the end of the request's body")
        self.more = message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body


async def _watch(receive: Receive, outbox: Outbox) -> None:
    """Tell the thread when the client leaves: a stream that nobody reads should end."""
    while (await receive())["type"] != "http.disconnect":
        pass
    outbox.abandon()


def _announces_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(
        (name == b"content-length" and value.strip() != b"0") or name == b"transfer-encoding" for name, value in headers
    )


def build_environ(scope: Mapping[str, Any], message: Any, body: Any) -> Environ:
    """Return the environ of a request. `body` is its wsgi.input; `message` is not used (upstream's signature).

    Strings are octets as latin-1 (PEP 3333, "Unicode Issues"): so the path is made of the raw one, without loss.
    """
    script_name = scope.get("root_path", "").encode("utf-8").decode("latin-1")
    raw_path = scope.get("raw_path")
    path = (scope["path"].encode("utf-8") if raw_path is None else unquote_to_bytes(raw_path)).decode("latin-1")
    if path.startswith(script_name) and path[len(script_name) :][:1] in ("", "/"):
        path = path[len(script_name) :]
    default_port = 443 if scope.get("scheme") == "https" else 80
    server = scope.get("server")
    name, port = server if server and server[1] is not None else ("localhost", default_port)
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": script_name,
        "PATH_INFO": path,
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": name,
        "SERVER_PORT": str(port),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body,
        "wsgi.input_terminated": True,  # reading ends by itself, with chunked bodies too
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "asgi.scope": scope,
    }
    if client := scope.get("client"):
        environ["REMOTE_ADDR"] = client[0]
        environ["REMOTE_PORT"] = str(client[1])
    for raw_name, raw_value in scope["headers"]:
        if b"_" in raw_name:
            continue  # X_Real_IP would be taken for X-Real-IP, which the proxy has set
        key = raw_name.decode("latin-1").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        value = raw_value.decode("latin-1")
        if key in environ:
            value = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + value
        environ[key] = value
    return environ


WSGIMiddleware: Any
try:
    from a2wsgi import WSGIMiddleware
except ModuleNotFoundError:
    WSGIMiddleware = _WSGIMiddleware
