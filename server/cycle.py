"""One request and its response, as the application sees them: the `receive` and `send` of the ASGI specification.

The cycle knows which messages are legal in which phase, how the response is framed (RFC 9112 6) and whether the
connection can carry another request afterwards. It writes through its connection, which owns the socket's state.

The head of a response is held until the first piece of the body: head and body then leave in one write, a body that
came whole gets its Content-Length, and an application that fails in between still answers with a clean 500. If the body
does not follow in the same turn of the loop, the head leaves alone (`connection.HTTPConnection.end_turn`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .head import Head
from .response import ResponseHead, body_bytes, head_alone, response_head, short_response, without

if TYPE_CHECKING:
    from .connection import HTTPConnection
    from .service import Service

Message = dict[str, Any]

# Phases of the response.
AWAITING_START = 0  # nothing came from the application
HEAD_HELD = 1  # http.response.start came; nothing was written
BODY = 2  # the head was written
COMPLETE = 3  # everything was written

_LARGE = 32768  # octets; a larger piece of a body does not wait for the end of the turn
_TURN_OCTETS = 1 << 18  # that an application may send without a turn for others: a client that reads fast lets it go on
_PIECE_OCTETS = 128  # that a piece of a body counts beside its own, for what it costs
_DISCONNECT = "http.disconnect"


class RequestResponseCycle:
    """The exchange of one request for one response. Lives in the thread of the event loop."""

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_delivered",
        "_expects_continue",
        "_left",
        "_pieces",
        "_response",
        "_told",
        "_unyielded",
        "_waiters",
        "buffered",
        "connection",
        "gone",
        "head",
        "keep_alive",
        "more_body",
        "phase",
        "scope",
        "service",
        "started",
        "task",
    )

    def __init__(self, connection: HTTPConnection, service: Service, scope: dict[str, Any], head: Head) -> None:
        self.connection = connection
        self.service = service
        self.scope = scope
        self.head = head
        self.task: asyncio.Task[None] | None = None
        self.phase = AWAITING_START
        self.started = False  # the application was called
        self.gone = False  # nobody is there to answer any more
        self.keep_alive = head.keep_alive  # whether the connection can go on, as far as it is decided
        self.more_body = head.length != 0  # of the request, still to come
        self.buffered = 0  # octets of the request body that the application did not take yet
        self._pieces: list[bytes] | None = None
        self._waiters: list[asyncio.Future[None]] | None = None
        self._delivered = False  # the last http.request was given out
        self._told = False  # the application was told of the disconnect
        self._expects_continue = head.expects_continue
        # Of the response, from its start on:
        self._response: ResponseHead
        self._left: int  # octets of the body that a declared length leaves to send; -1: there is none
        self._bodiless: bool
        self._chunked: bool
        self._unyielded: int  # octets that were sent since others had a turn

    # -- The application's side ---------------------------------------------------------------------------------------

    async def run(self, app: Any) -> None:
        """Call the application and see to it that the request gets an answer. Never raises."""
        self.started = True
        try:
            result = await app(self.scope, self.receive, self.send)
        except BaseException as error:  # SystemExit and KeyboardInterrupt of one request do not end the server
            if isinstance(error, GeneratorExit) and not self.service.loop.is_running():
                raise  # the loop is gone; nothing can be written
            self.service.logger.error("Exception in ASGI application\n", exc_info=error)
            self._fail()
        else:
            if result is not None:
                self.service.logger.error("ASGI callable should return None, but returned '%s'.", result)
                self._fail()
            elif self.phase != COMPLETE and self._told:
                self._fail()  # in case somebody listens still; the application was right to stop
            elif self.phase != COMPLETE and not self.gone:
                what = "starting" if self.phase == AWAITING_START else "completing"
                self.service.logger.error("ASGI callable returned without %s response.", what)
                self._fail()
        finally:
            if self.task is not None:
                self.service.state.tasks.discard(self.task)
                self.task = None  # breaks the circle task - coroutine - cycle

    async def receive(self) -> Message:
        """ASGI receive: the body as far as it has arrived, then, once the exchange is over, the disconnect."""
        while not self.gone and self.phase != COMPLETE:
            if self.buffered or not (self.more_body or self._delivered):
                return self._take_body()
            if self._delivered and self.connection.half_closed:
                self._told = True
                break
            if self._expects_continue and self.phase == AWAITING_START:
                # RFC 9110 10.1.1: at the first wish for the body, which says that it is wanted.
                self._expects_continue = False
                self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            waiter = self.service.loop.create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            if self.more_body:
                self.connection.await_body()
            try:
                await waiter
            except asyncio.CancelledError:
                self._forget(waiter)
                raise
        return {"type": _DISCONNECT}

    async def send(self, message: Message) -> None:
        """ASGI send. Waits while the client does not read; silently drops what a client that left would have got."""
        connection = self.connection
        if connection.write_paused and not self.gone:
            await connection.drained()
        if self.gone:
            # An application that goes on without waiting for anything must not keep the loop to itself.
            await asyncio.sleep(0)
            return
        kind = message["type"]
        phase = self.phase
        if phase == AWAITING_START:
            if kind == "http.response.start":
                self._begin(message)
                return
            return self._out_of_order(f"Expected ASGI message 'http.response.start', but got '{kind}'.")
        if phase == COMPLETE:
            return self._out_of_order(f"Unexpected ASGI message '{kind}' sent, after response already completed.")
        if kind != "http.response.body":
            return self._out_of_order(f"Expected ASGI message 'http.response.body', but got '{kind}'.")
        body = message.get("body", b"")
        if body.__class__ is not bytes:
            body = body_bytes(body)
        more: bool = message.get("more_body", False)
        if self._left >= 0 and not self._bodiless:
            # Hold the body to the length that the head declares; what would break it is not written.
            left = self._left - len(body)
            if left < 0:
                raise RuntimeError("Response content longer than Content-Length")
            if left and not more:
                raise RuntimeError("Response content shorter than Content-Length")
            self._left = left
        if phase == HEAD_HELD:
            self._write_first(body, more)
        else:
            self._write_next(body, more)
            self._unyielded += _PIECE_OCTETS + len(body)
        if not more:
            self._complete()
        elif self._unyielded > _TURN_OCTETS:
            self._unyielded = 0
            await asyncio.sleep(0)

    def _out_of_order(self, text: str) -> None:
        # Frameworks that were told of the disconnect end what they streamed, and may answer once more: to nobody.
        if not self._told:
            raise RuntimeError(text)

    # -- The connection's side ----------------------------------------------------------------------------------------

    def feed(self, data: bytes, more: bool) -> bool:
        """Take a piece of the request body; return whether the application was waiting for it."""
        if data:
            if self._pieces is None:
                self._pieces = [data]
            else:
                self._pieces.append(data)
            self.buffered += len(data)
            self._expects_continue = False  # the client did not wait
        self.more_body = more
        return self.wake()

    def wake(self) -> bool:
        """Let every `receive` that waits look again; return whether there was one."""
        waiters = self._waiters
        if not waiters:
            return False
        self._waiters = None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        return True

    def _forget(self, waiter: asyncio.Future[None]) -> None:
        """A `receive` was cancelled: frameworks poll for the disconnect that way."""
        if self._waiters is not None and waiter in self._waiters:
            self._waiters.remove(waiter)
            if not self._waiters:
                self._waiters = None
                self.connection.forget_body()

    @property
    def ends_with_connection(self) -> bool:
        """Whether only the end of the connection tells the client where the body ends."""
        return self.phase == BODY and self._left < 0 and not self._chunked and not self._bodiless

    @property
    def waits_for_body(self) -> bool:
        """Whether the application waits for a part of the body that has not arrived."""
        return self.more_body and bool(self._waiters)

    @property
    def untouched(self) -> bool:
        """Whether nothing of the response was written, so that another one can still be given."""
        return self.phase < BODY

    def lose(self) -> None:
        """The client is gone, or cannot be answered: what the application does from here on reaches nobody."""
        self.gone = True
        self._pieces = None
        self.buffered = 0
        self.wake()

    def write_head(self) -> None:
        """Write the held head without a body: the application lets it wait."""
        if self.phase == HEAD_HELD and not self.gone:
            self.connection.write(self._head(None, True))

    # -- The response -------------------------------------------------------------------------------------------------

    def _begin(self, message: Message) -> None:
        self._response = response = response_head(message["status"], message.get("headers", ()))
        self._left = response.length
        self._unyielded = 0
        if response.unusual:
            self.keep_alive = self.keep_alive and not response.close
            self.service.state.total_errors += response.status >= 500
        self._bodiless = response.bodiless or self.head.method == "HEAD"
        self._chunked = False
        self.phase = HEAD_HELD
        if not self.connection.held:
            self.service.hold(self.connection)

    def _head(self, body: bytes | None, more: bool) -> bytes:
        """Decide how the body is framed and whether the connection goes on; return the whole head.

        `body` is the first piece of the body, None if it is not known yet; `more`: others follow.
        """
        service = self.service
        response = self._response
        head = self.head
        ending = b"\r\n"
        if self._left < 0 and not self._bodiless:
            if body is not None and not more:
                ending = b"content-length: %d\r\n\r\n" % len(body)
            elif head.version == "1.0":
                self.keep_alive = False  # RFC 9112 6.3: the end of the connection is the end of the body
            else:
                self._chunked = True
                ending = b"transfer-encoding: chunked\r\n\r\n"
        if (
            not self.keep_alive
            or (service.state.draining is not None and not self.connection.has_another)
            or not service.keep_alive
            or self._expects_continue  # the client may or may not send the body now: nobody can tell what follows
            or (self.connection.ending and self.connection.is_last)
            or (self.more_body and not more and self.connection.has_much_unread)
        ):
            self.keep_alive = False
            ending = b"connection: close\r\n" + ending
        elif head.version == "1.0":
            ending = b"connection: keep-alive\r\n" + ending
        if service.access is not None:
            service.access.log(self.scope, response.status)
        defaults = service.default_block or service.render_defaults()
        if response.replaces:
            defaults = without(service.state.default_headers, response.replaces)
        self.phase = BODY
        return b"".join((response.start, defaults, response.block, ending))

    def _write_first(self, body: bytes, more: bool) -> None:
        head = self._head(body, more)
        if self._chunked or len(body) > _LARGE:
            self.connection.write(head)
            self._write_next(body, more)
        elif more:
            self.connection.write(head if self._bodiless else head + body)
        else:
            self.connection.write_last(head if self._bodiless else head + body)

    def _write_next(self, body: bytes, more: bool) -> None:
        """Write a piece of the body behind the head."""
        size = len(body)
        connection = self.connection
        if self._chunked:
            if size > _LARGE:
                connection.write(b"%x\r\n" % size)
                connection.write_large(body)
                connection.write(b"\r\n")
            elif size:
                connection.write(b"%x\r\n%b\r\n" % (size, body))
            if not more:
                connection.write_last(b"0\r\n\r\n")
        elif self._bodiless:
            return
        elif size > _LARGE:
            connection.write_large(body)
        elif not more:
            connection.write_last(body)
        elif size:
            connection.write(body)

    def _complete(self) -> None:
        self.phase = COMPLETE
        state = self.service.state
        state.total_requests += 1
        if state.total_requests == state.max_requests and state.on_max_requests is not None:
            state.on_max_requests()
        if self._waiters is not None:
            self.wake()
        self.connection.finish(self)

    def _fail(self) -> None:
        """Answer for an application that did not: 500 if nothing was written yet, else a connection cut short."""
        if self.gone or (self.phase == COMPLETE and not self.keep_alive):
            return
        if self.phase == COMPLETE:
            self.connection.close_after_response(self)
        elif self.untouched:
            self.respond(500, b"Internal Server Error")
        else:
            self.connection.cut(self)

    def respond(self, status: int, text: bytes) -> None:
        """Answer in the application's place and end the connection; only while `untouched`."""
        service = self.service
        self.keep_alive = False
        if self.phase == AWAITING_START or self._response.status < 500:  # else it was counted when it was held
            service.state.total_errors += status >= 500
        if service.access is not None:
            service.access.log(self.scope, status)
        response = short_response(status, text, service.state.default_block)
        if self.head.method == "HEAD":
            response = head_alone(response)
        self.connection.write_last(response)
        self._complete()

    def _take_body(self) -> Message:
        pieces = self._pieces
        body = b""
        if pieces is not None:
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._pieces = None
            self.buffered = 0
            self.connection.resume_body()
        if not self.more_body:
            self._delivered = True
        return {"type": "http.request", "body": body, "more_body": self.more_body}


async def service_unavailable(scope: Any, receive: Any, send: Any) -> None:
    """The application that answers in place of the real one when there is too much to do."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"19"),
        (b"connection", b"close"),
        (b"retry-after", b"1"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"Service Unavailable"})
