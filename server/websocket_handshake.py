"""The opening of a WebSocket connection: from the head of the request to the answer, ours or the application's.

The rest of the connection's life is in `websocket_ending` and `websocket_protocol`, whose classes derive from the one
here.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING, Any

from .head import Fields, Refusal
from .limits import over_concurrency
from .response import head_alone, short_response
from .service import Service
from .utils import (
    ClientDisconnected,
    get_client_addr,
    get_local_addr,
    get_path_with_query_string,
    get_remote_addr,
    is_ssl,
)
from .websocket import (
    AppState,
    Denial,
    Handshake,
    Refused,
    accept_response,
    build_scope,
    phrase,
    read_handshake,
)
from .websocket_deflate import Deflate
from .websocket_engines import Engine, FramesEngine, WSProtoEngine
from .websocket_frames import ABNORMAL
from .websocket_inbox import Inbox

if TYPE_CHECKING:
    from uvicorn.config import Config

    from .state import ServerState

_UNLIMITED = 1 << 62


class Phase(IntEnum):
    HEAD = 0
    HANDSHAKE = 1
    OPEN = 2
    CLOSING = 3
    LINGER = 4
    CLOSED = 5


# As plain names: reading a member of an enum class costs more than what is done with it.
HEAD, HANDSHAKE, OPEN, CLOSING, LINGER, CLOSED = Phase


def split_fields(block: bytes) -> Fields:
    """Split the field lines of a head that an HTTP protocol has passed on, which has judged it already."""
    fields = []
    for line in block.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            fields.append((name.lower(), value.strip(b" \t")))
        elif line:
            raise Refusal(400, "invalid header")
    return fields


class Opening(asyncio.Protocol):
    """The state that a connection has in every phase, and its handshake."""

    __slots__ = (
        "_app",
        "_denial",
        "_early",
        "_engine",
        "_handshake",
        "_inbox",
        "_task",
        "_write_paused",
        "_writers",
        "deadline",
        "phase",
        "scope",
        "service",
        "transport",
    )

    engine: type[FramesEngine] | type[WSProtoEngine]
    """What speaks the wire; each subclass has its own."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        loop = _loop or asyncio.get_event_loop()
        self.service = Service.of(config, server_state, app_state, loop, split_fields)
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        self.scope: dict[str, Any] = {}
        self.phase: Phase = HEAD
        self.deadline = inf
        self._app = AppState.CONNECTING
        self._engine: Engine | None = None
        self._handshake: Handshake | None = None
        self._denial: Denial | None = None
        self._task: asyncio.Task[None] | None = None
        self._early = b""  # a head that is not complete; later, what came before the handshake was answered
        self._inbox = Inbox(loop, _positive(config.ws_max_queue))
        self._writers: list[asyncio.Future[None]] = []
        self._write_paused = False

    # -- What the rest of the connection does -------------------------------------------------------------------------

    async def _run(self, app: Any) -> None:
        """Run the application on this connection."""
        raise NotImplementedError

    def _opened(self, early: bytes) -> None:
        """The handshake is done; `early` came behind its head."""
        raise NotImplementedError

    def _hang_up(self) -> None:
        """Close our side."""
        raise NotImplementedError

    def _end(self, code: int, reason: str) -> None:
        """Tell the application that the connection is over."""
        raise NotImplementedError

    # -- The handshake ------------------------------------------------------------------------------------------------

    def _read_request(self, data: bytes) -> None:
        self._early += data
        end = self._early.find(b"\r\n\r\n")
        if end >= 0:
            raw, self._early = self._early[: end + 4], self._early[end + 4 :]
            self._begin(raw)
        elif len(self._early) > self.service.heads.limits.head:
            self._refuse(Refused(431, "head too large"))

    def _begin(self, raw: bytes) -> None:
        service = self.service
        config = service.config
        heads = service.heads
        try:
            head = heads.remembered.get(raw) or heads.read(raw)
        except Refusal as refusal:
            self._refuse(Refused(refusal.status, refusal.cause))
            return
        handshake = read_handshake(head, deflate=config.ws_per_message_deflate)
        if isinstance(handshake, Refused):
            self._refuse(handshake, head.method)
            return
        transport = self.transport
        self._handshake = handshake
        self.scope = build_scope(
            head,
            asgi_version=service.asgi_version,
            scheme="wss" if is_ssl(transport) else "ws",
            server=get_local_addr(transport),
            client=get_remote_addr(transport),
            subprotocols=handshake.subprotocols,
            state=service.app_state.copy(),
        )
        state = service.state
        if over_concurrency(service.limit_concurrency, len(state.connections), len(state.tasks)):
            service.note("Exceeded concurrency limit.")
            self._answer(503, b"Service Unavailable")
            return
        self.phase = HANDSHAKE
        app = service.app if head.forwarded else service.plain_app
        task = service.loop.create_task(self._run(app), context=service.new_context())
        self._task = task
        state.tasks.add(task)

    def _refuse(self, refused: Refused, method: str = "GET") -> None:
        client = get_remote_addr(self.transport)
        self.service.logger.info(
            "connection rejected (%d %s): %s (%s)",
            refused.status,
            phrase(refused.status),
            refused.cause,
            f"{client[0]}:{client[1]}" if client else "a local socket",
        )
        self._answer(refused.status, refused.text, refused.headers, method)

    def _answer(self, status: int, text: bytes, headers: bytes = b"", method: str = "GET") -> None:
        """Answer the handshake with a response of ours that ends the connection."""
        if status >= 500:
            self._log(str(status))
        self._app = AppState.CLOSED
        response = short_response(status, text, self.service.state.default_block, headers)
        self._write(head_alone(response) if method == "HEAD" else response)  # RFC 9110 9.3.2
        self._count(status)
        self._hang_up()

    def _accept(self, message: dict[str, Any]) -> None:
        service = self.service
        handshake = self._handshake
        assert handshake is not None
        subprotocol = message.get("subprotocol") or None  # empty, too, is what some say for none
        response = accept_response(handshake, service.state.default_headers, message.get("headers") or (), subprotocol)
        if subprotocol is not None and subprotocol not in handshake.subprotocols:
            service.logger.warning("The application chose the subprotocol %r, which was not offered.", subprotocol)
        config = service.config
        agreement = handshake.agreement
        limit = _UNLIMITED if config.ws_max_size is None else max(config.ws_max_size, 0)
        self._engine = self.engine(limit, Deflate(agreement) if agreement else None)
        self._handshake = None
        self._app = AppState.OPEN
        self.phase = OPEN
        self.transport.write(response)
        self._log("[accepted]")
        service.logger.info("connection open")
        self._count()
        early, self._early = self._early, b""
        self._opened(early)

    def _deny(self, message: dict[str, Any]) -> None:
        self._denial = Denial(message, self.service.state.default_headers)
        self._app = AppState.DENYING
        self._log(str(self._denial.status))

    async def _deny_body(self, message: dict[str, Any]) -> None:
        denial = self._denial
        assert denial is not None
        if self._write_paused:
            await self._drained()
            if self._inbox.end is not None:
                raise ClientDisconnected
        data, last = denial.body(message)
        self._write(data)
        if last:
            self._app = AppState.CLOSED
            self._rejected(denial.status)

    def _rejected(self, status: int) -> None:
        self.service.logger.info("connection rejected (%d %s)", status, phrase(status))
        self._count(status)
        self._hang_up()
        self._end(ABNORMAL, "")

    def _cut_denial(self) -> None:
        """End a response that the application did not finish, so that the client can tell."""
        denial = self._denial
        if denial is not None and denial.untouched:
            self._answer(500, b"Internal Server Error")
        else:
            self.phase = CLOSED
            self.transport.abort()

    # -- Small parts --------------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    async def _drained(self) -> None:
        """Wait until the client has read enough to be sent more, or is gone."""
        writer = self.service.loop.create_future()
        self._writers.append(writer)
        await writer

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            if not writer.done():
                writer.set_result(None)

    def _count(self, status: int = 101) -> None:
        """The handshake is answered: one more request is complete."""
        state = self.service.state
        state.total_requests += 1
        state.total_errors += status >= 500
        if state.total_requests == state.max_requests and state.on_max_requests is not None:
            state.on_max_requests()

    def _log(self, what: str) -> None:
        self.service.logger.info(
            '%s - "WebSocket %s" %s', get_client_addr(self.scope), get_path_with_query_string(self.scope), what
        )


def _positive(number: int | None) -> int:
    return number if number and number > 0 else _UNLIMITED
