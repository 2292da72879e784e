"""One HTTP/1.1 connection: the asyncio shell around head, body, cycle and response.

    bytes -> head.HeadReader -> Head -> scope -> RequestResponseCycle -> task -> application
    application -> RequestResponseCycle -> bytes -> transport

Its phases, deadlines and its end are in ending.py.

Pipelined requests wait as bytes, a bounded number of them, until the response before them is complete: nothing is
parsed ahead, so every refusal stands behind the answers of the requests before it (RFC 9112 9.3.2).
"""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from .body import ChunkedBody
from .cycle import HEAD_HELD, RequestResponseCycle, service_unavailable
from .ending import BUSY, CLOSED, CLOSING, DISCARD, FRESH, HEAD, IDLE, LINGER, TimedConnection
from .head import CHUNKED, LONGEST_REMEMBERED, Head, Refusal, Tokenizer, check_unfinished, skip_empty_lines
from .limits import over_concurrency
from .response import head_alone, refusal_text, short_response
from .scope import http_scope
from .service import Service
from .utils import get_local_addr, get_remote_addr

if TYPE_CHECKING:
    from uvicorn.config import Config

    from .state import ServerState


HIGH_WATER = 65536
"""Octets that wait for the application, or for their turn, before reading is paused."""

# Octets of an unread body that are skipped for the sake of the connection. TLS cannot close our side alone: a client
# that still sends would have its upload broken off, and report that in place of the answer.
_MAX_DISCARD = 65536
_MAX_DISCARD_TLS = 16 << 20


class HTTPConnection(TimedConnection):
    """Serves the requests of one connection, one after the other. Lives in the thread of its event loop."""

    __slots__ = ("_discarded", "_drain_waiters", "_reading", "scheme", "server")

    tokenize: Tokenizer
    """Splits the field lines of a head; each subclass has its own."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        service = server_state.service
        if service is None or service.config is not config or service.loop is not _loop:
            if not config.loaded:
                config.load()
            loop = _loop or asyncio.get_event_loop()
            service = Service.of(config, server_state, app_state, loop, type(self).tokenize)
        super().__init__(service)
        self.server: tuple[str, int | None] | None = None
        self.scheme = "http"
        self._drain_waiters: list[asyncio.Future[None]] | None = None
        self._discarded = 0  # octets of an unread body that were skipped so far
        self._reading = False  # inside _read_buffer

    # -- asyncio: the transport's side --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        service = self.service
        self.transport = transport
        self.client = get_remote_addr(transport)
        self.server = get_local_addr(transport)
        state = service.state
        if state.is_encrypted(transport):
            self.scheme = "https"
        connections = state.connections
        connections.add(self)
        self.deadline = self._after(service.header_timeout)
        service.sweep.watch()
        if service.traces:
            service.trace(self.client, "HTTP connection made")
        if state.draining == "stop":
            self.shutdown()
        if len(connections) > service.cap:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        service = self.service
        service.state.connections.discard(self)
        service.heads.confided.pop(self, None)
        if service.traces:
            service.trace(self.client, "HTTP connection lost")
        cycle, self.cycle = self.cycle, None
        self.phase = CLOSED
        self.deadline = inf
        self._buffer = b""
        self._chunks = None
        self.out.clear()
        if cycle is not None:
            cycle.lose()
        self._wake_writers()

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase <= IDLE:
            if self._buffer:
                seen = len(self._buffer)
                data = self._buffer + data
                self._buffer = b""
                self._read_head(data, seen)
                return
            heads = self.service.heads
            if len(data) > LONGEST_REMEMBERED:  # with a body behind it, or an unusual one
                self._read_head(data)
            elif (head := heads.remembered.get(data)) is not None:
                self._start(head, data, b"")  # the whole of a request that was read before
            elif (confided := heads.confided.get(self)) is not None and confided[0] == data:
                self._start(confided[1], data, b"")
            else:
                self._read_head(data)
        elif phase <= DISCARD:
            if self._left or self._chunks is not None:
                self._read_body(data)
            else:
                self._keep(data)
        elif phase == LINGER:
            self.linger_on(len(data))

    def eof_received(self) -> bool | None:
        phase = self.phase
        if self.scheme == "https" or phase in (FRESH, IDLE, DISCARD, LINGER, CLOSING, CLOSED):
            return None  # the transport closes itself
        self.half_closed = self.ending = True
        if phase == HEAD:
            self.refuse(Refusal(400, "closed in the middle of a head"))
        elif self._left or self._chunks is not None:
            self.refuse(Refusal(400, "closed in the middle of a body"))
        elif self.cycle is not None:
            # All was asked: the answer is still given. An application that watches for the client's leaving is told,
            # since a client that has gone for good looks the same until something is written to it.
            self.cycle.wake()
        return True

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.phase == BUSY:
            self.deadline = inf
            if self.cycle is not None and self.cycle.waits_for_body:
                self.await_body()
        self._wake_writers()

    # -- The request --------------------------------------------------------------------------------------------------

    def _read_head(self, data: bytes, seen: int = 0) -> None:
        """Read one head from `data`, which begins where a request may begin; `seen` octets of it came before."""
        heads = self.service.heads
        try:
            if data.startswith(b"\r\n"):
                data = data[skip_empty_lines(data) :]
                if not data:  # as some clients send behind a body: no beginning of a request yet
                    if self.phase == IDLE and self.half_closed:
                        self._hang_up(linger=False)
                    elif self.phase == IDLE:
                        self.deadline = min(self.deadline, monotonic() + self.service.keep_alive)
                    return
                seen = 0
            end = data.find(b"\r\n\r\n", max(seen - 3, 0))
            if end < 0:
                check_unfinished(data, heads.limits, seen)
                head = None
            else:
                end += 4
                raw = data if end == len(data) else data[:end]
                head = heads.remembered.get(raw) or heads.read(raw, self)
        except Refusal as refusal:
            self._buffer = data
            self.refuse(refusal)
            return
        if head is None:
            self._buffer = data
            if self.half_closed:
                self.refuse(Refusal(400, "closed in the middle of a head"))
            elif self.phase != HEAD:
                self.phase = HEAD
                self.deadline = self._after(self.service.header_timeout)
                if self.service.state.draining == "stop":
                    self.shutdown()
            return
        self._start(head, raw, data[end:] if end < len(data) else b"")

    def _start(self, head: Head, raw: bytes, rest: bytes) -> None:
        """Begin to answer the request `head`; `rest` is what was received behind it."""
        service = self.service
        if head.upgrade and self._upgrade(head, raw, rest):
            return
        self.phase = BUSY
        self.deadline = self._after(service.write_timeout) if self.write_paused else inf
        scope = http_scope(head, service, self)
        self.cycle = cycle = RequestResponseCycle(self, service, scope, head)
        state = service.state
        app = service.app if head.forwarded else service.plain_app
        if service.limit_concurrency is not None and over_concurrency(
            service.limit_concurrency, len(state.connections), len(state.tasks)
        ):
            service.note("Exceeded concurrency limit.")
            app = service_unavailable
        if head.length == CHUNKED:
            self._chunks = ChunkedBody()
        else:
            self._left = head.length
        cycle.task = task = service.loop.create_task(cycle.run(app), name=head.name, context=service.new_context())
        if not task.done():  # as it may be where tasks start eagerly
            state.tasks.add(task)
        if rest:
            if self.phase == IDLE:  # answered by now, by a task that starts eagerly
                self._buffer = rest
                self._read_buffer()
            else:
                self.data_received(rest)
        if self.half_closed and (self._left or self._chunks is not None):
            self.refuse(Refusal(400, "closed in the middle of a body"))

    def _upgrade(self, head: Head, raw: bytes, rest: bytes) -> bool:
        """Hand the connection to the WebSocket protocol; False: the request is served as HTTP (RFC 9110 7.8)."""
        service = self.service
        config = service.config
        if not head.is_websocket or config.ws_protocol_class is None or head.length:
            # RFC 9110 7.8: an Upgrade in HTTP/1.0 is ignored. What sends one is a proxy that was told half of it.
            hint = " HTTP/1.0 knows none: let the proxy speak HTTP/1.1 to us." if head.version == "1.0" else ""
            service.note(f"Unsupported upgrade request.{hint}")
            return False
        if service.traces:
            service.trace(self.client, "Upgrading to WebSocket")
        self.phase = CLOSED
        self.deadline = inf
        service.state.connections.discard(self)
        service.heads.confided.pop(self, None)
        if self._reading_paused:
            self.transport.resume_reading()
        self.flush()
        protocol_class: Any = config.ws_protocol_class
        protocol = protocol_class(
            config=config, server_state=service.state, app_state=service.app_state, _loop=service.loop
        )
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        # What the transport has told this protocol it will not tell the next one.
        if self.write_paused:
            protocol.pause_writing()
        protocol.data_received(raw + rest)
        if self.half_closed and not protocol.eof_received():
            self.transport.close()
        return True

    def _read_body(self, data: bytes) -> None:
        rest = b""
        if self._chunks is None:
            left = self._left - len(data)
            if left < 0:
                data, rest = data[:left], data[left:]
                left = 0
            self._left = left
            more = left > 0
        else:
            try:
                data, rest = self._chunks.feed(data)
            except Refusal as refusal:
                self.refuse(refusal)
                return
            more = not self._chunks.done
            if not more:
                self._chunks = None
        cycle = self.cycle
        if cycle is None:
            self._discard(len(data), rest, more)
            return
        if cycle.feed(data, more):
            if self.phase == BUSY and not self.write_paused:
                self.deadline = inf
        elif more and cycle.buffered > HIGH_WATER:
            # An application that waits takes this piece first: pausing for it would cost two system calls a piece.
            self._pause()
        if rest:
            self._keep(rest)

    def _discard(self, octets: int, rest: bytes, more: bool) -> None:
        """Skip a part of a body that the answered request has left."""
        self._discarded += octets
        if not more:
            self._buffer = rest
            self._become_idle()
        elif self._discarded > self._max_discard:
            self._hang_up(linger=True)

    def _keep(self, rest: bytes) -> None:
        """Keep what follows the request that is being answered until its turn comes."""
        self._buffer += rest
        if len(self._buffer) > HIGH_WATER:
            self._pause()  # not before: a connection that is not read does not tell when the client leaves

    def refuse(self, refusal: Refusal) -> None:
        """Answer a request that cannot be served, and end the connection."""
        if self.phase >= LINGER:
            return
        service = self.service
        service.log_refusal(refusal, self.client)
        began, self._buffer = self._buffer, b""
        self._left = 0
        self._chunks = None
        cycle = self.cycle
        text = refusal_text(refusal.status)
        if self.phase == DISCARD:
            self._hang_up(linger=True)  # the request has its answer; a second one would be taken for the next one's
        elif cycle is None:
            response = short_response(refusal.status, text, service.state.default_block)
            # RFC 9110 9.3.2: no answer to HEAD has content, this one neither.
            self.write_last(head_alone(response) if began.startswith(b"HEAD ") else response)
            self._hang_up(linger=True)
        elif cycle.untouched:
            self._close_after = self.ending = True
            cycle.respond(refusal.status, text)
            cycle.lose()
        else:
            self.cut(cycle)

    # -- The cycle's side ---------------------------------------------------------------------------------------------

    def end_turn(self) -> None:
        """Send what the application has sent in this turn of the loop."""
        cycle = self.cycle
        if cycle is not None:
            if self.out and not cycle.started:
                # A pipelined request begins with the next turn: its answer may leave with those before it.
                self.service.hold(self)
                return
            if cycle.phase == HEAD_HELD:
                cycle.write_head()
        self.flush()

    async def drained(self) -> None:
        """Wait until the client has read enough to be sent more, or is gone."""
        if self._drain_waiters is None:
            self._drain_waiters = []
        waiter = self.service.loop.create_future()
        self._drain_waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if self._drain_waiters is not None and waiter in self._drain_waiters:
                self._drain_waiters.remove(waiter)
            raise

    def _wake_writers(self) -> None:
        waiters, self._drain_waiters = self._drain_waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def await_body(self) -> None:
        """The application waits for a part of the body that has not come."""
        if self.phase == BUSY and not self.write_paused:
            self.deadline = self._after(self.service.body_timeout)

    def forget_body(self) -> None:
        """The application does not wait for the body any more."""
        if self.phase == BUSY and not self.write_paused:
            self.deadline = inf

    def resume_body(self) -> None:
        """The application has taken what waited for it."""
        if self._reading_paused and not self._buffer:
            self._resume()

    def finish(self, cycle: RequestResponseCycle) -> None:
        """The response is complete: go on to the next request, or end the connection."""
        if self.cycle is not cycle:
            return
        self.cycle = None
        waits = self._left or self._chunks is not None or self._buffer or self._reading_paused
        if cycle.keep_alive and not waits and not self.ending:  # most of the time
            self.phase = IDLE
            self.deadline = monotonic() + self.service.keep_alive
            return
        unread = self._left > 0 or self._chunks is not None
        if cycle.keep_alive and not self._close_after:
            if not unread:
                self._become_idle()
            elif self._left > self._max_discard:
                self._hang_up(linger=True)
            else:
                self.phase = DISCARD
                self._discarded = 0
                self.deadline = self._after(self.service.keep_alive)
                self._resume()
        else:
            # Whoever asked for the end sends nothing more. Where we chose it, more may be on its way, and closing on
            # unread bytes sends a reset, which can take the answer with it (RFC 9112 9.6).
            self._hang_up(linger=unread or bool(self._buffer) or cycle.head.keep_alive)

    @property
    def is_last(self) -> bool:
        """Whether no request can follow the one that is being answered."""
        return (self.half_closed and not self._buffer) or self._close_after

    @property
    def has_another(self) -> bool:
        """Whether the head of the next request has come already, which then is answered too (RFC 9112 9.3.2)."""
        return b"\r\n\r\n" in self._buffer and not self._close_after

    @property
    def has_much_unread(self) -> bool:
        """Whether more of the request is still to come than is read for the sake of the connection."""
        return self._left > self._max_discard

    @property
    def _max_discard(self) -> int:
        return _MAX_DISCARD_TLS if self.scheme == "https" else _MAX_DISCARD

    def close_after_response(self, cycle: RequestResponseCycle) -> None:
        """End the connection although the response has said that it goes on; a request that waits is still answered."""
        if self.phase == IDLE:
            self._hang_up(linger=True)
        self._close_after = self.ending = True

    def cut(self, cycle: RequestResponseCycle) -> None:
        """End a response that cannot be completed, so that the client sees that it is not."""
        cycle.lose()
        if self.cycle is cycle:
            self.cycle = None
        if cycle.ends_with_connection:
            self._reset()
        else:
            self._hang_up(linger=True)

    def _become_idle(self) -> None:
        self.phase = IDLE
        if self._buffer:
            self._read_buffer()
            if self.phase >= LINGER or (self.phase == BUSY and len(self._buffer) > HIGH_WATER):
                return
        elif self.half_closed:
            self._hang_up(linger=False)
            return
        else:
            service = self.service
            self.deadline = monotonic() + service.keep_alive
        if self._reading_paused:
            self._resume()

    def _read_buffer(self) -> None:
        """Begin with the request that waits; where requests are answered at once, with all of them.

        One after the other, not each inside the one before: a packet may hold thousands.
        """
        if self._reading:
            return  # whoever called what called us goes on
        self._reading = True
        try:
            while self._buffer and self.phase == IDLE:
                buffer, self._buffer = self._buffer, b""
                self._read_head(buffer)
        finally:
            self._reading = False
