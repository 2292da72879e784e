"""What all HTTP connections of one server share, worked out once instead of once a connection or a request."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import resource
import time
from typing import TYPE_CHECKING, Any

from .access_log import AccessLog
from .connections import Sweep
from .head import HeadReader, Limits, Refusal, Tokenizer
from .limits import LogBudget, connection_cap
from .proxy_headers import ProxyHeadersMiddleware

if TYPE_CHECKING:
    from uvicorn.config import Config

    from .connection import HTTPConnection
    from .state import ServerState

_TRACE = 5


def limits_of(config: Config) -> Limits:
    """Return how large a head may be.

    `h11_max_incomplete_event_size` is upstream's one number for all of a head: given, it is the head's limit here too,
    and lets the request line and a field be as long, so that who has raised it for large cookies keeps them.
    """
    size = config.h11_max_incomplete_event_size
    return Limits(
        line=max(config.limit_request_line, size or 0),
        field=max(config.limit_request_field_size, size or 0),
        head=config.limit_request_head if size is None else size,
        fields=config.limit_request_fields,
    )


class Service:
    """Settings, application, tables and clocks of the HTTP connections of one server and one event loop."""

    __slots__ = (
        "_context",
        "_held",
        "_notes",
        "_refusals",
        "access",
        "app",
        "app_state",
        "asgi_version",
        "body_timeout",
        "cap",
        "config",
        "default_block",
        "header_timeout",
        "heads",
        "keep_alive",
        "limit_concurrency",
        "logger",
        "loop",
        "plain_app",
        "read_buffer",
        "root_path",
        "state",
        "sweep",
        "traces",
        "write_timeout",
    )

    def __init__(
        self,
        config: Config,
        state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
        tokenize: Tokenizer,
    ) -> None:
        self.config = config
        self.state = state
        self.app_state = app_state
        self.loop = loop
        self.logger = logging.getLogger("uvicorn.error")
        self.traces = self.logger.isEnabledFor(_TRACE)
        access_logger = logging.getLogger("uvicorn.access")
        self.access = AccessLog(loop, access_logger) if config.access_log and access_logger.hasHandlers() else None
        self.app = config.loaded_app
        # A request without a forwarded header passes through the middleware unchanged, whoever sent it: it goes past.
        self.plain_app = self.app.app if type(self.app) is ProxyHeadersMiddleware else self.app
        self.asgi_version = config.asgi_version
        self.root_path = config.root_path
        self.limit_concurrency = config.limit_concurrency
        self.keep_alive = float(config.timeout_keep_alive)
        self.header_timeout = float(config.timeout_request_header)
        self.body_timeout = float(config.timeout_request_body)
        self.write_timeout = float(config.timeout_write)
        self.heads = HeadReader(
            tokenize,
            limits_of(config),
            config.root_path,
        )
        self.cap = connection_cap(config.limit_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        timeouts = [self.keep_alive, self.header_timeout, self.body_timeout, self.write_timeout]
        self.sweep = Sweep(loop, state.connections, min((t for t in timeouts if t > 0), default=5.0))
        self.default_block = b""
        self.read_buffer: memoryview | None = None
        """What large messages of WebSockets are read into; see websocket_reading."""
        self._held: list[HTTPConnection] = []
        self._refusals = LogBudget()
        self._notes: dict[str, LogBudget] = {}
        # What requests start from: the context in which the server listens, and nothing of other requests.
        self._context = contextvars.copy_context()

    @classmethod
    def of(
        cls,
        config: Config,
        state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
        tokenize: Tokenizer,
    ) -> Service:
        """Return the service of this server, made at its first connection."""
        service: Service | None = state.service
        if service is None or service.loop is not loop or service.config is not config:
            service = state.service = cls(config, state, app_state, loop, tokenize)
        return service

    def new_context(self) -> contextvars.Context:
        """Return the context that a request starts in."""
        return contextvars.Context() if self.config.reset_contextvars else self._context.copy()

    def hold(self, connection: HTTPConnection) -> None:
        """Look at this connection again at the end of the loop's turn: what it has to send leaves in one write."""
        held = self._held
        if not held:
            self.loop.call_soon(self._release)
        held.append(connection)
        connection.held = True

    def _release(self) -> None:
        held, self._held = self._held, []
        for connection in held:
            connection.held = False
            if connection.cycle is not None or connection.out:  # else all was sent with the end of the response
                try:
                    connection.end_turn()
                except Exception:  # a log handler of the application's, say: the other responses go on
                    self.logger.exception("Cannot write a response.")

    def render_defaults(self) -> bytes:
        """Return the default headers as bytes and keep them, in `default_block`, until this second is over."""
        self.default_block = block = self.state.default_block
        self.loop.call_later(1.0 - time.time() % 1.0, self._forget_defaults)
        return block

    def _forget_defaults(self) -> None:
        self.default_block = b""

    # -- What the log says of requests that are not served ------------------------------------------------------------

    def log_refusal(self, refusal: Refusal, client: tuple[str, int] | None) -> None:
        """Log why a request was refused, a few times a second at most."""
        swallowed = self._refusals.spend(time.monotonic())
        if swallowed is None:
            return
        who = "%s:%d" % client if client else "a local socket"
        more = f"; {swallowed} more were refused meanwhile" if swallowed else ""
        if refusal.status == 400:
            self.logger.warning("Invalid HTTP request received. (%s: %s%s)", who, refusal.cause, more)
        elif refusal.status == 408:
            self.logger.info("Closed on time-out. (%s: %s%s)", who, refusal.cause, more)
        else:
            self.logger.warning("Request refused: %s (%d). (%s%s)", refusal.cause, refusal.status, who, more)

    def note(self, message: str) -> None:
        """Log a warning, the same once a second at most."""
        if self._notes.setdefault(message, LogBudget(per_second=1)).spend(time.monotonic()) is not None:
            self.logger.warning(message)

    def trace(self, client: tuple[str, int] | None, what: str) -> None:
        """Log an event of a connection at level TRACE."""
        self.logger.log(_TRACE, "%s%s", "%s:%d - " % client if client else "", what)
