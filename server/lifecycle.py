"""The life of a server in one process: start up, serve, drain, stop.

    serve: capture signals { load, lifespan, startup, main_loop, shutdown }, then raise the captured signals again

How its connections end, and what cuts them, is in `draining`.

Nothing here polls. The main loop sleeps until `should_exit` or `force_exit` is set (by a signal handler, another
thread, the application) or the last request of `limit_max_requests` is answered; all of these wake it. Only what asks
for a clock gets one: an overridden `on_tick` ten times a second, `callback_notify` and `on_heartbeat` once.

Two ways to the end. A *stop*: this process goes away and nobody else may serve the socket, so what waits in the
kernel's queue is accepted and answered, idle connections close at once. A *retirement*: others serve the same socket,
so the queue is left to them, and idle connections stay open for the request that may be on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

from uvicorn._compat import asyncio_run
from uvicorn.errors import STARTUP_FAILURE, ListenError

from .acceptor import Acceptor, Gate
from .afterwork import Afterwork
from .draining import Draining
from .memory import keep_freed_memory
from .process_signals import whole_process_handlers
from .state import ServerState
from .waker import SignalWakeup, Waker

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.listeners import Listener

HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""The signals that stop a server; each is raised again when it has stopped."""

Protocols: TypeAlias = Any
"""The protocol classes of HTTP and WebSocket connections, for annotations."""

logger = logging.getLogger("uvicorn.error")

_TICK = 0.1  # seconds
_TICKS_A_SECOND = 10
_COUNTER_WRAPS = 864_000  # ticks, one day


class Server(Draining):
    """An ASGI server. Subclasses override its methods; their order of calls is that of upstream's class."""

    # Also class attributes, so that a subclass may set them before it calls __init__, or not call it at all.
    on_ready: Callable[[], None] | None = None
    """Called once connections are accepted."""
    on_accept_stopped: Callable[[], None] | None = None
    """Called when the listening sockets are let go: the drain begins, no connection will be added."""
    on_heartbeat: Callable[[], None] | None = None
    """Called in the loop, from the start of `startup` to the end of `shutdown`."""
    heartbeat_period = 1.0
    """Seconds between two of these calls."""
    accept_gate: Gate | None = None
    """Asked before each accept for the seconds to leave it to another worker; None accepts at once."""
    sockets_stay = False
    """The sockets that `serve` is given are kept by somebody who will start a successor of ours."""
    owns_process = False
    """The server is all that this process does (the command): then it answers SIGHUP and SIGQUIT too."""
    opened: list[Listener] | None = None
    """Listeners that whoever owns the process has opened in advance, and closes; None: `startup` opens them."""
    _should_exit = False
    _force_exit = False
    _limit_max_requests: int | None = None
    _ends_loop = False
    """The event loop is ours: what else runs in it ends with us."""
    _afterwork: Afterwork | None = None
    _waker: Waker | None = None

    def __init__(self, config: Config) -> None:
        self.config = config
        self.server_state = ServerState()
        limit = config.limit_max_requests
        self.limit_max_requests = None if limit is None else limit + random.randint(0, config.limit_max_requests_jitter)
        self.started = False
        self.should_exit = False
        self.force_exit = False
        self.last_notified = 0.0
        self.servers: list[asyncio.Server | Acceptor] = []
        self._captured_signals: list[int] = []
        self._acceptors: list[Acceptor] = []
        self._listeners: list[Listener] = []
        self._sockets: list[socket.socket] = []
        self._retiring = False
        self._hurried = False
        self._signal_wakeup: SignalWakeup | None = None
        self._pulse: asyncio.TimerHandle | None = None

    @property
    def should_exit(self) -> bool:
        """Set it, from any thread or signal handler, to stop the server gracefully."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        self._wake()

    @property
    def force_exit(self) -> bool:
        """Set it, from any thread or signal handler, to stop waiting for anything: also the lifespan is cut."""
        return self._force_exit

    @force_exit.setter
    def force_exit(self, value: bool) -> None:
        self._force_exit = value
        self._wake()

    @property
    def limit_max_requests(self) -> int | None:
        """Requests after which the server stops, jitter added; None: never. May be set while it serves."""
        return self._limit_max_requests

    @limit_max_requests.setter
    def limit_max_requests(self, value: int | None) -> None:
        self._limit_max_requests = self.server_state.max_requests = value
        self._wake()

    # -- Running --

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve in a new event loop until it is over. KeyboardInterrupt after a SIGINT, as asyncio.run() has it."""
        factory = self.config.get_loop_factory()
        self._ends_loop = True
        asyncio_run(self.serve(sockets=sockets), loop_factory=factory)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve in the running loop; in the main thread SIGINT and SIGTERM stop it."""
        with self.capture_signals():
            await self._serve(sockets)

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        pid = os.getpid()
        config = self.config
        if not config.loaded:
            config.load()
        self.lifespan = config.lifespan_class(config)
        logger.info(
            "Started server process [%d]", pid, extra={"color_message": "Started server process [\x1b[36m%d\x1b[0m]"}
        )
        await self.startup(sockets=sockets)
        if not self.started:
            return
        if not self.should_exit:
            await self.main_loop()
        await self.shutdown(sockets=sockets)
        logger.info(
            "Finished server process [%d]", pid, extra={"color_message": "Finished server process [\x1b[36m%d\x1b[0m]"}
        )

    # -- Starting up --

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Bind, run the lifespan's startup, then listen. SystemExit(3), after a line that says why, if one fails."""
        self._attach()
        try:
            self._bind(sockets)
            await self._unless_forced(self.lifespan.startup())
            if self.force_exit:
                await self._abandon()
                self._close_sockets()
                self._detach()
                return
            if self.lifespan.should_exit:
                raise SystemExit(STARTUP_FAILURE)
            try:
                await self._listen()
            except (OSError, ListenError) as exc:  # another socket of this address began to listen since we bound ours
                logger.error(exc)
                await self._stop_accepting(accept_rest=False)
                await self.lifespan.shutdown()
                raise SystemExit(STARTUP_FAILURE) from None
        except BaseException:
            self._close_sockets()
            self._detach()
            raise
        self._log_running()
        self._afterwork = Afterwork() if self._ends_loop else None
        self.started = True
        if self.on_ready is not None:
            self.on_ready()

    def _bind(self, sockets: list[socket.socket] | None) -> None:
        if sockets is not None:
            # Duplicates: loops close what they are given, and the owner of these may close them once more. Not dup() of
            # the object: it would make the socket block, for other processes that share it too, until we listen.
            self._sockets = [
                socket.socket(sock.family, sock.type, sock.proto, os.dup(sock.fileno())) for sock in sockets
            ]
            return
        from uvicorn.listeners import open_listeners

        try:
            self._listeners = open_listeners(self.config) if self.opened is None else self.opened
        except ListenError as exc:
            logger.error(exc)
            raise SystemExit(STARTUP_FAILURE) from None
        self._sockets = [listener.sock for listener in self._listeners]

    async def _listen(self) -> None:
        config, state = self.config, self.server_state
        keep_freed_memory()
        state.draining = None
        state.encrypted = config.ssl is not None
        state.set_headers(config.encoded_headers, date=config.date_header)
        state.max_requests, state.on_max_requests = self.limit_max_requests, self._wake
        protocol_class: Callable[..., asyncio.Protocol] = config.http_protocol_class
        create_protocol = functools.partial(
            protocol_class,
            config=config,
            server_state=state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        for listener in self._listeners:
            listener.listen(config.backlog)
        self.servers = []
        self._acceptors = []
        for sock in self._sockets:
            acceptor = Acceptor(
                sock,
                create_protocol,
                backlog=config.backlog,
                ssl=config.ssl,
                handshake_timeout=config.timeout_tls_handshake,
                ends_itself=hasattr(protocol_class, "expired"),
                gate=self.accept_gate,
            )
            self._acceptors.append(acceptor)
            self.servers.append(await acceptor.start())

    def _log_running(self) -> None:
        # Sockets that were given have been announced by whoever made them.
        if self._listeners:
            from uvicorn.listeners import running_lines

            for message, color_message, args in running_lines(self._listeners, self.config):
                logger.info(message, *args, extra={"color_message": color_message})

    # -- Serving --

    async def main_loop(self) -> None:
        """Sleep until it is time to stop."""
        waker = self._attach()
        period, ticks = self._clock()
        counter = 0
        while not await self.on_tick(counter):
            if not await waker.sleep(period):
                counter = (counter + ticks) % _COUNTER_WRAPS

    async def on_tick(self, counter: int) -> bool:
        """Say whether to stop. `counter` is in tenths of a second; a subclass that overrides this gets each of them."""
        if counter % _TICKS_A_SECOND == 0:
            await self._notify()
        if self.should_exit:
            return True
        limit = self.limit_max_requests
        if limit is not None and self.server_state.total_requests >= limit:
            logger.info("Maximum request limit of %d exceeded. Terminating process.", limit)
            return True
        return False

    def _clock(self) -> tuple[float | None, int]:
        """Return how long the main loop may sleep, in seconds and ticks; (None, 0) is for ever."""
        if getattr(self.on_tick, "__func__", None) is not _ON_TICK or type(self).should_exit is not _SHOULD_EXIT:
            return _TICK, 1
        counts_itself = any(base.__module__.startswith("uvicorn.") for base in self.config.http_protocol_class.__mro__)
        if self.config.callback_notify is not None or (self.limit_max_requests is not None and not counts_itself):
            return 1.0, _TICKS_A_SECOND
        return None, 0

    async def _notify(self) -> None:
        config = self.config
        if config.callback_notify is not None:
            now = time.time()
            if now - self.last_notified > config.timeout_notify:
                self.last_notified = now
                await config.callback_notify()

    def _beat(self) -> None:
        if self.on_heartbeat is not None:
            self.on_heartbeat()
            self._pulse = asyncio.get_running_loop().call_later(self.heartbeat_period, self._beat)

    # -- Stopping --

    def retire(self) -> None:
        """Leave the sockets to others, finish what is here and end. To be called in the loop.

        Streams that watch `handle_exit` (sse-starlette patches it) learn of it as they do of SIGTERM.
        """
        if self.should_exit:
            return
        captured = len(self._captured_signals)
        self.handle_exit(signal.SIGTERM, None)
        del self._captured_signals[captured:]  # no signal came: none is raised again
        self._retiring = True

    def stop_now(self) -> None:
        """Stop without grace: requests are cancelled, the lifespan still ends in order. Also for signal handlers."""
        self._hurried = True
        self._retiring = False
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go of the sockets, finish the requests within `timeout_graceful_shutdown`, end the lifespan."""
        self._attach()
        logger.info("Shutting down")
        # Who gave us the socket keeps it and starts our successor: idle connections too, whose next request may be on
        # its way, are answered for a moment more.
        lenient = self.sockets_stay or (
            bool(self._listeners) and all(listener.inherited for listener in self._listeners)
        )
        self.server_state.draining = "retire" if self._retiring or lenient else "stop"
        for listener in self._listeners:
            listener.unlink()  # before the queue is emptied: then nobody can come after that
        await self._stop_accepting(accept_rest=not self._retiring)
        self._close_sockets()
        for sock in sockets or ():
            sock.close()
        if self.on_accept_stopped is not None:
            self.on_accept_stopped()
        for _ in range(2):  # read first what has arrived already: then a connection with a request in it is not idle
            await asyncio.sleep(0)
        await self._drain(lenient=lenient)
        if self._afterwork is not None and not self._hurried and not self.force_exit:
            await self._unless_forced(self._afterwork.wait(self.config.timeout_graceful_shutdown))
        if not self.force_exit:
            await self._unless_forced(self.lifespan.shutdown())
        if self.force_exit:
            await self._abandon()
        self._detach()

    async def _stop_accepting(self, *, accept_rest: bool) -> None:
        for acceptor in self._acceptors:
            await acceptor.stop(accept_rest=accept_rest)

    def _close_sockets(self) -> None:
        for listener in self._listeners:
            listener.close()
        for sock in self._sockets:
            sock.close()
        self._listeners = []
        self._sockets = []

    async def _unless_forced(self, work: Any) -> None:
        """Await `work`, but leave it when `force_exit` is set."""
        waker, task = self._attach(), asyncio.ensure_future(work)
        task.add_done_callback(lambda _: waker.wake())
        while not task.done() and not self.force_exit:
            await waker.sleep()
        if task.done():
            task.result()
        else:
            task.cancel()

    # -- Signals --

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM inside; afterwards restore the handlers and raise again what came, last first.

        Only in the main thread; elsewhere nothing is touched. The handlers are bound methods, set by signal.signal and
        looked up when they are set: packages patch `Server.handle_exit`, and find the server by its handler.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._captured_signals = []
        handlers: dict[int, Any] = dict.fromkeys(HANDLED_SIGNALS, self.handle_exit)
        if self.owns_process:
            handlers |= whole_process_handlers(self)
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                # None: it was set by C code, and Python cannot set it again.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for number in reversed(self._captured_signals):
            signal.raise_signal(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal and begin to stop; SIGINT while stopping forces, SIGTERM may come as often as it likes."""
        self._captured_signals.append(sig)
        self._retiring = False
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        else:
            self.should_exit = True

    # -- The loop --

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call back in the server's loop, if it has one now. For any thread, and for signal handlers."""
        if self._waker is not None:
            self._waker.call_soon(callback)

    def _wake(self) -> None:
        if self._waker is not None:
            self._waker.wake()

    def _attach(self) -> Waker:
        """Bind to the running loop, once for each; who runs the stages one by one may begin with any."""
        loop = asyncio.get_running_loop()
        if self._waker is None or self._waker.loop is not loop:
            self._waker = Waker(loop)
            self._signal_wakeup = SignalWakeup(loop)
            self._beat()
        return self._waker

    def _detach(self) -> None:
        self._waker = None
        if self._signal_wakeup is not None:
            self._signal_wakeup.close()
        if self._pulse is not None:
            self._pulse.cancel()


_ON_TICK = Server.on_tick
_SHOULD_EXIT = Server.should_exit
