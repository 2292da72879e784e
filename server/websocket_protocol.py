"""One WebSocket connection: the asyncio shell around handshake, engine and application.

    bytes -> Engine.receive -> events -> queue -> receive() -> application
    application -> send() -> Engine.message -> transport

    HEAD        the head of the request is awaited (it comes with the hand-over from HTTP)
    HANDSHAKE   the application has to accept or to refuse          no limit: it is the application's time
    OPEN        messages go both ways                               pings, their answers, a client that does not read
    CLOSING     our close frame was sent, theirs is awaited         close time-out, then reset
    LINGER      our side is closed, theirs is read out              a moment, then reset
    CLOSED      nothing more comes or goes                          write time-out, then reset

Back-pressure: a bounded queue of messages is read ahead, so that pings behind them are answered while the application
is slow; then reading stops. Towards the client, `send` waits while the transport is full, and of the pings that came
meanwhile only the last is answered (RFC 6455 5.5.3).

The time that each phase has, and the ways to the end, are in `websocket_ending`.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any

from .response import body_bytes, short_response
from .utils import ClientDisconnected, get_remote_addr
from .websocket import GOING_TO_RESTART, SERVER_FAILED, AppState, check_close, check_message
from .websocket_ending import Ending
from .websocket_engines import Engine, FramesEngine, WSProtoEngine
from .websocket_frames import ABNORMAL, Close, Failure, Ping
from .websocket_handshake import CLOSED, CLOSING, HANDSHAKE, HEAD, LINGER, OPEN
from .websocket_reading import LARGE, read_large

if TYPE_CHECKING:
    from uvicorn.config import Config

    from .state import ServerState

_FAILURE_WAIT = 1.0  # seconds that the messages before a broken frame are given to be answered
_TURN_OCTETS = 1 << 18  # that an application may send without a turn for others: a client that reads fast lets it go on
_MESSAGE_OCTETS = 128  # that a message counts beside its own, for what it costs
_EARLY_OCTETS = 65536  # that a client may send before its handshake is answered


class WebSocketConnection(Ending):
    """Serves one WebSocket, from the head of its request to the end. Lives in the thread of its event loop."""

    __slots__ = ("_pong_owed", "_unyielded")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._pong_owed: bytes | None = None
        self._unyielded = 0  # octets sent since the application last had to wait for its turn

    # -- asyncio: the transport's side --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        service = self.service
        self.transport = transport
        service.state.connections.add(self)
        service.sweep.watch()
        if service.traces:
            service.trace(get_remote_addr(transport), "WebSocket connection made")
        if service.state.draining:
            self._retire_at = service.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        service = self.service
        service.state.connections.discard(self)
        if service.traces:
            service.trace(self.scope.get("client"), "WebSocket connection lost")
        if self._engine is not None:
            service.logger.info("connection closed")
        self.phase = CLOSED
        self.deadline = inf
        self._end(ABNORMAL, "")
        self._wake_writers()

    def data_received(self, data: bytes | memoryview) -> None:
        """Take what came; a view only after the handshake, which is used up at the return."""
        phase = self.phase
        if phase is OPEN or phase is CLOSING:
            self._read(data)
            if len(data) >= LARGE and type(data) is bytes and self.phase is OPEN and not self._reading_paused:
                read_large(self)
        elif phase is HEAD:
            self._read_request(bytes(data))
        elif phase is HANDSHAKE:
            self._early += data
            if len(self._early) > _EARLY_OCTETS:
                self._pause()
        elif phase is LINGER:
            self.linger_on()

    def eof_received(self) -> None:
        if self.phase <= CLOSING:
            self.phase = CLOSED
            self._set_deadline()
            self._end(ABNORMAL, "")

    def resume_writing(self) -> None:
        self._write_paused = False
        if self.phase <= OPEN:
            self._stall_due = inf
        payload, self._pong_owed = self._pong_owed, None
        if payload is not None and self.phase is OPEN and self._engine is not None:
            self.transport.write(self._engine.pong(payload))
        self._wake_writers()

    # -- The application's side ---------------------------------------------------------------------------------------

    async def _run(self, app: Any) -> None:
        service = self.service
        try:
            result = await app(self.scope, self._inbox.receive, self.send)
        except BaseException as exc:
            self._app_failed(exc)
        else:
            if self._app is AppState.CONNECTING:
                if self._inbox.end is None:
                    service.logger.error("ASGI callable returned without completing handshake.")
                    self._answer(500, b"Internal Server Error")
            elif self._app is AppState.DENYING:
                if self._inbox.end is None:
                    service.logger.error("ASGI callable returned without completing response.")
                    self._cut_denial()
            elif result is not None:
                service.logger.error("ASGI callable should return None, but returned '%s'.", result)
                self._close(SERVER_FAILED, "")
            else:
                self._close(1000, "")
        finally:
            task, self._task = self._task, None
            if task is not None:
                service.state.tasks.discard(task)

    def _app_failed(self, exc: BaseException) -> None:
        gone = self._inbox.end is not None
        if isinstance(exc, asyncio.CancelledError) and self.service.state.draining:
            # The time that a stopping server gives has passed; it says so itself.
            if self._app is AppState.CONNECTING and not gone:
                self._answer(503, b"Service Unavailable")
            self._close(GOING_TO_RESTART, "")
            self.phase = CLOSED
            self._set_deadline()
            self.transport.close()
            return
        if not (gone and _tells_of_disconnect(exc)):
            self.service.logger.error("Exception in ASGI application\n", exc_info=exc)
        if self._app is AppState.CONNECTING:
            if not gone:
                self._answer(500, b"Internal Server Error")
        elif self._app is AppState.DENYING:
            self._cut_denial()
        else:
            self._close(SERVER_FAILED, "")

    async def send(self, message: dict[str, Any]) -> None:
        """ASGI send."""
        kind = message["type"]
        if self.phase is OPEN and kind == "websocket.send":
            if self._write_paused or self._unyielded > _TURN_OCTETS:
                await self._take_turns()
            transport = self.transport
            if transport.is_closing():  # broken, which it tells us in its next turn
                self.phase = CLOSED
                self._end(ABNORMAL, "")
                raise ClientDisconnected
            data = message.get("bytes")
            if data is None:
                data = message.get("text")
                if data is None:
                    return
                if not isinstance(data, str):
                    raise TypeError(f"Expected 'text' to be a string, but got {type(data).__name__}.")
            elif type(data) is not bytes:
                data = body_bytes(data, "bytes")
            self._unyielded += _MESSAGE_OCTETS + len(data)
            frame = self._engine.message(data)  # type: ignore[union-attr]  # there is one in this phase
            if type(frame) is tuple:
                transport.writelines(frame)
            else:
                transport.write(frame)  # type: ignore[arg-type]  # bytes, says the branch above
            return
        if self._inbox.end is not None and self._app is not AppState.CLOSED:
            if kind == "websocket.close":
                return
            check_message(self._app, kind)
            raise ClientDisconnected
        check_message(self._app, kind)
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            if self._app is AppState.CONNECTING:
                self._app = AppState.CLOSED
                self._log("403")
                defaults = self.service.state.default_block
                self._write(short_response(403, b"", defaults))
                self._rejected(403)
            else:
                code, reason = check_close(message.get("code", 1000), message.get("reason"))
                self._app = AppState.CLOSED
                self._close(code, reason)
        elif kind == "websocket.http.response.start":
            self._deny(message)
        else:
            await self._deny_body(message)

    async def _take_turns(self) -> None:
        """Wait for room towards the client, and let others run meanwhile; ClientDisconnected if it is gone then."""
        self._unyielded = 0
        if self._write_paused:
            await self._drained()
        else:
            await asyncio.sleep(0)
        if self.phase is not OPEN:
            raise ClientDisconnected

    def _opened(self, early: bytes) -> None:
        now = self.service.loop.time()
        self._pings.start(now)
        if self.service.state.draining and self._retire_at == inf:
            self._retire_at = now
        self._set_deadline()
        if early:
            self._read(early)
        if self._reading_paused and self.phase is OPEN:
            self._resume()

    # -- Frames that arrive -------------------------------------------------------------------------------------------

    def _read(self, data: bytes | memoryview) -> None:
        """Parse what has come and what was left, as far as the inbox has room."""
        engine = self._engine
        assert engine is not None
        inbox = self._inbox
        if self.phase is OPEN:
            events = engine.receive(data, inbox.room, inbox.volume)
        else:
            events = engine.receive(data, 1 << 30, 1 << 62)  # only their close frame matters now
        for event in events:
            kind = type(event)
            if kind is str or kind is bytes:
                if self.phase is OPEN:
                    inbox.put(event)  # type: ignore[arg-type]
            elif kind is Ping:
                self._answer_ping(engine, event.payload)  # type: ignore[union-attr]
            elif kind is Close:
                self._closed_by_peer(engine, event)  # type: ignore[arg-type]
            elif kind is Failure:
                self._failed_by_peer(event)  # type: ignore[arg-type]
            else:
                self._pings.answered(event.payload)  # type: ignore[union-attr]
                if self.phase is OPEN:
                    self._set_deadline()  # the next ping may be nearer than the end of the wait for this answer
        if inbox.room <= 0 or inbox.volume <= 0 or engine.has_rest:
            self._pause()

    def _pause(self) -> None:
        """Read no more until the application has made room; at the end it needs none, and all is read."""
        if self._reading_paused or self.phase > OPEN:
            return
        self._reading_paused = True
        self._inbox.on_room = self._resume
        self.transport.pause_reading()

    def _resume(self) -> None:
        """Read on after the application has made room."""
        engine = self._engine
        if engine is not None and engine.has_rest:
            self._read(b"")
        inbox = self._inbox
        if self.phase is OPEN and (engine is None or engine.has_rest or inbox.room <= 0 or inbox.volume <= 0):
            return
        self._reading_paused = False
        inbox.on_room = None
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _answer_ping(self, engine: Engine, payload: bytes) -> None:
        if self.phase is not OPEN:
            return
        if self._write_paused:
            self._pong_owed = payload
        else:
            self.transport.write(engine.pong(payload))

    def _closed_by_peer(self, engine: Engine, close: Close) -> None:
        if self.phase is OPEN:
            self._write(engine.close(close.code, close.reason))
        self._end(close.code, close.reason)
        self.phase = CLOSED
        self._set_deadline()
        self.transport.close()

    def _failed_by_peer(self, failure: Failure) -> None:
        self._failure = failure
        if len(self._inbox) and self.phase is OPEN:
            # The application may still answer the messages that came before it, if it does so soon.
            self._inbox.on_empty = self._fail
            self._pings.stop()
            self._retire_at = min(self._retire_at, self.service.loop.time() + _FAILURE_WAIT)
            self._set_deadline()
        else:
            self._fail()

    def _fail(self) -> None:
        """End the connection because the client broke the protocol (7.1.7)."""
        failure, self._failure = self._failure, None
        self._inbox.on_empty = None
        assert failure is not None
        assert self._engine is not None
        if self.phase is OPEN:
            self._log(f"failed by the client: {failure.reason} ({failure.code})")
            self._write(self._engine.close(failure.code, failure.reason))
        self._end(failure.code, failure.reason)
        self._hang_up()


def _tells_of_disconnect(exc: BaseException) -> bool:
    """Whether an application that ended with `exc` has only not caught that its client left, which is no failure."""
    if isinstance(exc, BaseExceptionGroup):  # of the tasks of an application
        return all(map(_tells_of_disconnect, exc.exceptions))
    # Starlette (and so FastAPI) and Litestar make an exception of this name of ours and of the event.
    return isinstance(exc, ClientDisconnected) or type(exc).__name__ == "WebSocketDisconnect"


class WebSocketsSansIOProtocol(WebSocketConnection):
    """The default: `--ws websockets-sansio`, `--ws websockets`."""

    __slots__ = ()
    engine = FramesEngine


class WSProtocol(WebSocketConnection):
    """`--ws wsproto`."""

    __slots__ = ()
    engine = WSProtoEngine
