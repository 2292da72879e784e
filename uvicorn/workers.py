"""Worker classes for gunicorn: `gunicorn app:app -k uvicorn.workers.UvicornWorker`.

gunicorn is the manager: it binds, forks, counts time and sends signals; we serve. What its settings mean here is in
`UvicornWorker.settings`. Three of its habits shape the rest:

- It kills a worker that has not touched its file for `timeout` seconds. The event loop does so, from its first turn to
  its last: a loop that stands still is found out, a long drain is not punished.
- A worker cannot tell why it gets SIGTERM. At a reload others serve the same socket, at a stop nobody does. What loses
  nothing in both: empty the kernel's queue, and leave idle connections open for the request that may be on its way.
- It says "leave" in two ways: by signal, or by setting `alive` (its file watcher does, in a thread). Both end here.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import ssl
import sys
import time
from datetime import timedelta
from types import FrameType
from typing import Any

from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from gunicorn.config import AccessLogFormat  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from gunicorn.workers.base import Worker  # type: ignore[import-untyped]

from uvicorn._compat import asyncio_run
from uvicorn.config import Config
from uvicorn.manager.process import widen_signal_stack
from uvicorn.server import Server
from uvicorn.settings import SSL_PROTOCOL_VERSION

__all__ = ["UvicornH11Worker", "UvicornWorker"]

GRACE_WITH_RELOAD = 2.0  # seconds: who has saved a file waits for the new code
LAST_WORDS = 2.0  # seconds of graceful_timeout kept for cancelled requests and the lifespan: after it gunicorn kills
LONGEST_LINE = 65536  # bytes; what gunicorn's 0, no limit, becomes


_ITS_PARSER = "it is of gunicorn's own parser; ours follows RFC 9112"
_ITS_HEADERS = "an ASGI application gets every header under its own name"
_HTTP_1 = "this server speaks HTTP/1.1; a proxy in front speaks HTTP/2"
_NO_MEANING = "it has no meaning on an event loop"
NOT_HONOURED = {
    "asgi_disconnect_grace_period": "requests whose client has gone are not cancelled",
    "casefold_http_method": _ITS_PARSER,
    "do_handshake_on_connect": _NO_MEANING,
    "forwarder_headers": _ITS_HEADERS,
    "header_map": _ITS_HEADERS,
    "http2_cleartext": _HTTP_1,
    "http2_initial_window_size": _HTTP_1,
    "http2_max_concurrent_streams": _HTTP_1,
    "http2_max_frame_size": _HTTP_1,
    "http2_max_header_list_size": _HTTP_1,
    "http_parser": 'set "http" in CONFIG_KWARGS of a subclass',
    "http_protocols": _HTTP_1,
    "permit_obsolete_folding": _ITS_PARSER,
    "permit_unconventional_http_method": _ITS_PARSER,
    "permit_unconventional_http_version": _ITS_PARSER,
    "protocol": "this server speaks HTTP",
    "proxy_allow_ips": "the PROXY protocol is not spoken",
    "proxy_protocol": "the PROXY protocol is not spoken: let the proxy set X-Forwarded-For",
    "sendfile": _NO_MEANING,
    "strip_header_spaces": _ITS_PARSER,
    "suppress_ragged_eofs": _NO_MEANING,
    "threads": "requests are answered by one event loop",
    "tmp_upload_dir": "no body is written to a file",
    "uwsgi_allow_ips": "this server speaks HTTP",
}
"""Settings of gunicorn that a worker cannot follow -> why, or what to do instead: said when one is given."""


class GunicornServer(Server):
    """A server that leaves as a worker of gunicorn should: nothing lost, whatever made it leave."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        before = len(self._captured_signals)
        super().handle_exit(sig, frame)
        # Raised again, a signal would end us as if it had killed us, and gunicorn would say so.
        del self._captured_signals[before:]
        if sig == signal.SIGINT:
            self.stop_now()

    async def shutdown(self, sockets: Any = None) -> None:
        if not self.should_exit:
            self.retire()  # the limit of requests: streams that watch handle_exit learn of it too
        self._retiring = not self._hurried
        await super().shutdown(sockets)

    async def _stop_accepting(self, *, accept_rest: bool) -> None:
        await super()._stop_accepting(accept_rest=True)


class UvicornWorker(Worker):  # type: ignore[misc]
    """Subclasses set CONFIG_KWARGS, arguments of `uvicorn.Config` that win over what gunicorn's settings say."""

    CONFIG_KWARGS: dict[str, Any] = {"loop": "auto", "http": "auto"}  # noqa: RUF012 (subclasses annotate it or not)

    _server: GunicornServer | None = None
    _alive = True
    _copied: dict[str, list[logging.Handler]] = {}  # noqa: RUF012 (one for the whole process: loggers are, too)
    _told: Any = None  # the configuration whose settings were told about: the master makes workers, and tells once

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settle_logging()
        self._tell_what_is_not_honoured()
        arguments = self.settings() | self.CONFIG_KWARGS
        if self._is_given("asgi_loop") and arguments["loop"] == "auto":
            arguments["loop"] = self.cfg.asgi_loop
        self.config = Config(**arguments)

    # -- gunicorn's settings --

    def settings(self) -> dict[str, Any]:
        """Return the arguments of `Config` that gunicorn's settings amount to.

        Its own defaults of what limits a request are not taken over: they are narrower than ours, and who moves here
        from another server has not chosen them.
        """
        cfg = self.cfg
        found: dict[str, Any] = {
            "app": None,  # imported after the fork, unless gunicorn preloads it
            "workers": 1,  # WEB_CONCURRENCY is meant for gunicorn
            "log_config": None,
            "access_log": not self._gunicorn_logs_access(),
            "timeout_keep_alive": cfg.keepalive,
            "timeout_notify": self.timeout,
            "callback_notify": self.callback_notify,
            "timeout_graceful_shutdown": self._grace(),
            "limit_max_requests": None if self.max_requests == sys.maxsize else self.max_requests,
            "forwarded_allow_ips": cfg.forwarded_allow_ips,
            "backlog": cfg.backlog,
        }
        for theirs, ours in (
            ("limit_request_line", "limit_request_line"),
            ("limit_request_fields", "limit_request_fields"),
            ("limit_request_field_size", "limit_request_field_size"),
            ("worker_connections", "limit_connections"),
            ("websocket_max_message_size", "ws_max_size"),
            ("asgi_lifespan", "lifespan"),
            ("root_path", "root_path"),
        ):
            if self._is_given(theirs):
                found[ours] = getattr(cfg, theirs)
        for name in ("limit_request_line", "limit_request_field_size"):
            if found.get(name) == 0:
                found[name] = LONGEST_LINE
        if found.get("ws_max_size") == 0:
            found["ws_max_size"] = None
        if self._is_given("secure_scheme_headers"):
            found["forwarded_headers"] = "x-forwarded-for"
        if cfg.is_ssl:
            found |= self._tls()
        return found

    def _tell_what_is_not_honoured(self) -> None:
        if UvicornWorker._told is self.cfg:
            return
        UvicornWorker._told = self.cfg
        for name, why in NOT_HONOURED.items():
            if self._is_given(name):
                self.log.warning("%s = %r is not honoured by this worker: %s.", name, getattr(self.cfg, name), why)

    def _is_given(self, name: str) -> bool:
        """Whether a setting, which older versions may not have, is other than its default."""
        setting = self.cfg.settings.get(name)
        return setting is not None and setting.get() != type(setting)().get()

    def _grace(self) -> float:
        grace = float(self.cfg.graceful_timeout)
        if self.cfg.reload:
            return min(grace, GRACE_WITH_RELOAD)
        return max(grace - LAST_WORDS, grace / 2)

    def _tls(self) -> dict[str, Any]:
        cfg = self.cfg
        generic = (None, ssl.PROTOCOL_TLS, ssl.PROTOCOL_TLS_SERVER)
        found = {
            "ssl_keyfile": cfg.keyfile,
            "ssl_certfile": cfg.certfile,
            "ssl_version": SSL_PROTOCOL_VERSION if cfg.ssl_version in generic else int(cfg.ssl_version),
            "ssl_cert_reqs": int(cfg.cert_reqs or 0),
            "ssl_ca_certs": cfg.ca_certs,
            "ssl_ciphers": cfg.ciphers,
        }
        if self._is_given("ssl_context"):
            found["ssl_context_factory"] = lambda config, default: cfg.ssl_context(cfg, default)
        return found

    # -- logs --

    def _settle_logging(self) -> None:
        """Let our loggers write where gunicorn's do, unless its logconfig says where ours write."""
        for ours, theirs in (("uvicorn.error", self.log.error_log), ("uvicorn.access", self.log.access_log)):
            logger = logging.getLogger(ours)
            if logger.handlers and logger.handlers != self._copied.get(ours):
                continue
            logger.handlers = self._copied[ours] = list(theirs.handlers)
            logger.setLevel(theirs.level)
            logger.propagate = False

    def _gunicorn_logs_access(self) -> bool:
        """Whether the lines are gunicorn's: somebody chose a format, or a logger of their own."""
        return bool(self.cfg.access_log_format != AccessLogFormat.default or type(self.log).access is not Logger.access)

    # -- life --

    def init_signals(self) -> None:
        """Set the handlers for the time before and after serving; while serving, the server has INT and TERM."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        handlers: dict[int, Any] = {
            signal.SIGTERM: self.handle_exit,
            signal.SIGINT: self.handle_quit,
            signal.SIGQUIT: self.handle_quit,
            signal.SIGUSR1: self.handle_usr1,
            signal.SIGABRT: self.handle_abort,
            # Meant for the master, also when sent to the whole group; a terminal that closes sends SIGHUP to it. A
            # handler and not SIG_IGN, which what the application starts would inherit.
            signal.SIGHUP: _nothing,
            signal.SIGUSR2: _nothing,
        }
        faulthandler.disable()
        for number, handler in handlers.items():
            signal.signal(number, handler)
            signal.siginterrupt(number, False)
        # At SIGABRT, which ends a worker that hangs, this prints where, also in C code; then handle_abort runs.
        with contextlib.suppress(Exception):  # a standard error that is no file
            faulthandler.enable()
        widen_signal_stack()

    def run(self) -> None:
        try:
            asyncio_run(self._serve(), loop_factory=self.config.get_loop_factory())
        finally:
            # A stop of the whole group comes twice, to us and by gunicorn. While Python ends, the second one would kill
            # us, and gunicorn would report it.
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_IGN)

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        self._server = server = GunicornServer(self.config)
        self._install_sigquit_handler()
        if not self.config.loaded:
            self.config.load()
        self._wrap_app()
        self._beat()
        if not self.alive:
            server.handle_exit(signal.SIGTERM, None)
        await server.serve(sockets=self.sockets)
        if not server.started and not server.should_exit:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def _install_sigquit_handler(self) -> None:
        """Called in the loop before serving; for subclasses. Ours is there since `init_signals`."""

    def _beat(self) -> None:
        """Tell gunicorn that the loop turns; leave when gunicorn itself is gone."""
        self.notify()
        if os.getppid() != self.ppid and self.alive:
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False
        often = 1.0 if not self.timeout else min(1.0, self.timeout / 2)
        asyncio.get_running_loop().call_later(often, self._beat)

    async def callback_notify(self) -> None:
        """Called once in `timeout` / 2 seconds while serving; for subclasses, since the heart beats by itself."""
        self.notify()

    # -- leaving --

    @property
    def alive(self) -> bool:
        """Set it to False, from any thread, to have the worker finish its requests and end."""
        return self._alive

    @alive.setter
    def alive(self, value: bool) -> None:
        was, self._alive = self._alive, value
        if was and not value and self._server is not None:
            self._server.handle_exit(signal.SIGTERM, None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish the requests and end; for SIGINT and SIGQUIT without grace; at once while the app is imported."""
        self.alive = False
        if self._server is None:
            sys.exit(0)
        if sig in (signal.SIGINT, signal.SIGQUIT):
            self._server.stop_now()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        if self.alive:
            self.cfg.worker_int(self)
        self.handle_exit(sig, frame)

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """gunicorn's time-out: its hook, and the end. What is stuck here would not end by itself."""
        self._alive = False
        self.cfg.worker_abort(self)
        for handler in self.log.error_log.handlers:
            with contextlib.suppress(Exception):
                handler.flush()
        os._exit(1)

    # -- requests in gunicorn's words --

    def _wrap_app(self) -> None:
        # Asked for by name, and changed once: see Config.load.
        from uvicorn.server.proxy_headers import ProxyHeadersMiddleware

        cfg, app = self.cfg, self.config.loaded_app
        believes = type(app) is ProxyHeadersMiddleware
        hooks = [getattr(cfg, name) if self._is_given(name) else None for name in ("pre_request", "post_request")]
        # A logger of somebody's own (gunicorn's for statsd is one) may do anything; gunicorn's writes, or does not.
        access = self._gunicorn_logs_access() and (
            type(self.log).access is not Logger.access or bool(self.log.access_log.handlers)
        )
        if access or any(hooks):
            if believes:  # inside, so that the line names the client
                app.app = Requests(app.app, self, *hooks, access=access)
            else:
                app = Requests(app, self, *hooks, access=access)
        if believes and self._is_given("secure_scheme_headers"):
            app = SecureSchemeHeaders(app, cfg.secure_scheme_headers)
        if app is not self.config.loaded_app:
            self.config.loaded_app = app


class UvicornH11Worker(UvicornWorker):
    """The same on asyncio and h11, which run everywhere."""

    CONFIG_KWARGS: dict[str, Any] = {"loop": "asyncio", "http": "h11"}  # noqa: RUF012


def _nothing(sig: int, frame: FrameType | None) -> None:
    pass


class Requests:
    """Wraps an application; shows each request to gunicorn's hooks and logger, in the shape that they know.

    As under gunicorn's own workers, a `pre_request` that raises answers 500, a `post_request` that raises is logged.
    """

    def __init__(self, app: Any, worker: UvicornWorker, before: Any, after: Any, *, access: bool) -> None:
        self.app, self.worker, self.log = app, worker, worker.log
        self.before, self.after, self.access = before, after, access

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request, response = _Request(scope), _Response()

        async def watched(message: Any) -> None:
            if message["type"] == "http.response.start":
                response.status_code = message["status"]
                response.headers = [(_text(name), _text(value)) for name, value in message.get("headers", ())]
            elif message["type"] == "http.response.body" and scope["method"] != "HEAD":
                response.sent += len(message.get("body", b""))
            await send(message)

        began = time.monotonic()
        try:
            if self.before is not None:
                self.before(self.worker, request)
            await self.app(scope, receive, watched)
        finally:
            took = timedelta(seconds=time.monotonic() - began)
            environ = _environ(scope)
            if self.access:
                with contextlib.suppress(Exception):  # a format that is wrong must not cost an answer
                    self.log.access(response, request, environ, took)
            if self.after is not None:
                try:
                    self.after(self.worker, request, environ, response)
                except Exception:
                    self.log.exception("Exception in post_request hook")


class SecureSchemeHeaders:
    """Around what believes a proxy: the scheme is what gunicorn's `secure_scheme_headers` say it is."""

    def __init__(self, app: Any, headers: dict[str, str]) -> None:
        self.app = app
        self.headers = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in headers.items()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            said = [value == self.headers[name] for name, value in scope["headers"] if name in self.headers]
            client = scope.get("client")
            if said and self.app.trusts(client[0] if client else None):
                scope["scheme"] = _SCHEMES[scope["type"], all(said)]
        await self.app(scope, receive, send)


_SCHEMES = {("http", False): "http", ("http", True): "https", ("websocket", False): "ws", ("websocket", True): "wss"}


class _Response:
    """What gunicorn's logger asks of a response; without one from the application the server answers 500."""

    def __init__(self) -> None:
        self.status_code = 500
        self.headers: list[tuple[str, str]] = []
        self.sent = 0

    @property
    def status(self) -> str:
        return str(self.status_code)

    @property
    def response_length(self) -> int:
        return self.sent


class _Request:
    """What gunicorn's logger and hooks ask of a request."""

    def __init__(self, scope: Any) -> None:
        self.headers = [(_text(name).upper(), _text(value)) for name, value in scope["headers"]]
        self.method, self.path, self.scheme = scope["method"], scope["path"], scope["scheme"]
        self.query = _text(scope["query_string"])
        self.uri = _uri(scope)
        self.version = tuple(map(int, f"{scope['http_version']}.0".split(".")[:2]))


def _text(octets: bytes) -> str:
    return octets.decode("latin-1")


def _uri(scope: Any) -> str:
    query = _text(scope["query_string"])
    raw_path = _text(scope.get("raw_path") or scope["path"].encode())
    return f"{raw_path}?{query}" if query else raw_path


def _environ(scope: Any) -> dict[str, Any]:
    """Return what an access line may quote of a request, named as in WSGI."""
    client = scope.get("client")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "RAW_URI": _uri(scope),
        "PATH_INFO": scope["path"],
        "QUERY_STRING": _text(scope["query_string"]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0] if client else "",
        "wsgi.url_scheme": scope["scheme"],
    }
    for name, value in scope["headers"]:
        environ["HTTP_" + _text(name).upper().replace("-", "_")] = _text(value)
    return environ
