"""The public `Config`: settings for one server, and what `load()` makes of them: classes, TLS context, application.

Used in three ways: by the command and run(), by programs that drive a `Server` themselves, and as a base class. It
stays an ordinary, picklable class, and its signature stays explicit, for editors; tests/uvicorn/test_signatures.py
compares it with uvicorn.settings, so that the two cannot drift.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from types import FunctionType, MethodType
from typing import IO, TYPE_CHECKING, Any, Literal

from uvicorn import log_config as logs
from uvicorn.arguments import CHECKED, accept, accept_workers, check_headers, check_names
from uvicorn.errors import STARTUP_FAILURE
from uvicorn.errors import ConfigError as ConfigError
from uvicorn.importer import ImportFromStringError, import_choice, import_from_string, naming
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.reload_paths import is_dir as is_dir
from uvicorn.reload_paths import normalize_dirs as _normalize_dirs
from uvicorn.reload_paths import resolve_reload_patterns as resolve_reload_patterns
from uvicorn.settings import DEFAULT_BACKLOG, LOGGING_CONFIG, SETTINGS, SSL_PROTOCOL_VERSION
from uvicorn.settings import LOG_LEVELS as LOG_LEVELS
from uvicorn.tls import create_ssl_context

if TYPE_CHECKING:
    import asyncio
    import socket
    import ssl
    from configparser import RawConfigParser
    from pathlib import Path

    from uvicorn._types import ASGIApplication

HTTPProtocolType = Literal["auto", "h11", "httptools", "zttp"]
WSProtocolType = Literal["auto", "none", "websockets", "websockets-sansio", "wsproto"]
LifespanType = Literal["auto", "on", "off"]
LoopFactoryType = Literal["none", "auto", "asyncio", "uvloop", "zuvloop"]
InterfaceType = Literal["auto", "asgi3", "asgi2", "wsgi"]

HTTP_PROTOCOLS: dict[str, str] = {
    "auto": "uvicorn.protocols.http.auto:AutoHTTPProtocol",
    "h11": "uvicorn.protocols.http.h11_impl:H11Protocol",
    "httptools": "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol",
}
WS_PROTOCOLS: dict[str, str | None] = {
    "auto": "uvicorn.protocols.websockets.auto:AutoWebSocketsProtocol",
    "none": None,
    "websockets": "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol",
    "websockets-sansio": "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol",
    "wsproto": "uvicorn.protocols.websockets.wsproto_impl:WSProtocol",
}
LIFESPAN: dict[str, str] = {
    "auto": "uvicorn.lifespan.on:LifespanOn",
    "on": "uvicorn.lifespan.on:LifespanOn",
    "off": "uvicorn.lifespan.off:LifespanOff",
}
LOOP_FACTORIES: dict[str, str | None] = {
    "none": None,
    "auto": "uvicorn.loops.auto:auto_loop_factory",
    "asyncio": "uvicorn.loops.asyncio:asyncio_loop_factory",
    "uvloop": "uvicorn.loops.uvloop:uvloop_loop_factory",
    "zuvloop": "uvicorn.loops.zuvloop:zuvloop_loop_factory",
}
INTERFACES: list[InterfaceType] = ["auto", "asgi3", "asgi2", "wsgi"]


logger = logging.getLogger("uvicorn.error")


class UvicornDeprecationWarning(UserWarning):
    """Something of ours that will go. Not a DeprecationWarning: those are hidden from the people concerned."""


class Config:
    def __init__(
        self,
        app: ASGIApplication | Callable[..., Any] | str,
        host: str = "127.0.0.1",
        port: int = 8000,
        uds: str | None = None,
        fd: int | list[int] | None = None,
        loop: LoopFactoryType | str = "auto",
        http: type[asyncio.Protocol] | HTTPProtocolType | str = "auto",
        http2: bool = False,
        ws: type[asyncio.Protocol] | WSProtocolType | str = "auto",
        ws_max_size: int = 16 * 1024 * 1024,
        ws_max_queue: int = 32,
        ws_ping_interval: float | None = 20.0,
        ws_ping_timeout: float | None = 20.0,
        ws_per_message_deflate: bool = True,
        lifespan: LifespanType = "auto",
        env_file: str | os.PathLike[str] | None = None,
        log_config: dict[str, Any] | str | os.PathLike[str] | RawConfigParser | IO[Any] | None = LOGGING_CONFIG,
        log_level: str | int | None = None,
        access_log: bool = True,
        use_colors: bool | None = None,
        interface: InterfaceType = "auto",
        reload: bool = False,
        reload_dirs: list[str] | str | None = None,
        reload_delay: float = 0.25,
        reload_includes: list[str] | str | None = None,
        reload_excludes: list[str] | str | None = None,
        workers: int | Literal["auto"] | None = None,
        proxy_headers: bool = True,
        server_header: bool = True,
        date_header: bool = True,
        forwarded_allow_ips: list[str] | str | None = None,
        root_path: str = "",
        limit_concurrency: int | None = None,
        limit_max_requests: int | None = None,
        limit_max_requests_jitter: int = 0,
        backlog: int = DEFAULT_BACKLOG,
        timeout_keep_alive: float = 5,
        timeout_notify: float = 30,
        timeout_graceful_shutdown: float | None = None,
        timeout_worker_healthcheck: float = 5,
        callback_notify: Callable[..., Awaitable[None]] | None = None,
        ssl_keyfile: str | os.PathLike[str] | None = None,
        ssl_certfile: str | os.PathLike[str] | None = None,
        ssl_keyfile_password: str | None = None,
        ssl_version: int = SSL_PROTOCOL_VERSION,
        ssl_cert_reqs: int = 0,
        ssl_ca_certs: str | os.PathLike[str] | None = None,
        ssl_ciphers: str | None = None,
        ssl_context_factory: Callable[[Config, Callable[[], ssl.SSLContext]], ssl.SSLContext] | None = None,
        headers: list[tuple[str, str]] | None = None,
        factory: bool = False,
        h11_max_incomplete_event_size: int | None = None,
        reset_contextvars: bool = False,
        *,
        bind: list[str] | str | None = None,
        forwarded_headers: list[str] | str = "x-forwarded-for,x-forwarded-proto",
        uds_mode: int | None = None,
        manager: bool = False,
        surge: int = 1,
        preload: bool = False,
        limit_worker_lifetime: float = 0.0,
        limit_worker_lifetime_jitter: float = 0.0,
        limit_worker_memory: int | str | None = None,
        pid: str | None = None,
        user: str | None = None,
        group: str | None = None,
        umask: int | None = None,
        chdir: str | None = None,
        proc_name: str | None = None,
        shutdown_delay: float = 0.0,
        timeout_worker_boot: float = 300.0,
        timeout_request_header: float = 10.0,
        timeout_request_body: float = 30.0,
        timeout_write: float = 60.0,
        timeout_tls_handshake: float = 10.0,
        limit_connections: int | None = None,
        limit_request_line: int = 8190,
        limit_request_fields: int = 100,
        limit_request_field_size: int = 16384,
        limit_request_head: int = 65536,
    ) -> None:
        """Keep the settings, configure logging and load the env file. Nothing of the application is imported yet.

        Raises SettingError for a value of the wrong type, ConfigError if a file that is read here is missing or broken,
        or its package is not installed.
        """
        self.app = app
        self.host = host
        self.port = port
        self.uds = uds
        self.fd = fd
        self.bind: list[str] = bind or []  # type: ignore[assignment]  # as is a text put in a list
        self.uds_mode = uds_mode
        self.loop = loop
        self.http = http
        self.http2 = http2
        self.ws = ws
        self.ws_max_size = ws_max_size
        self.ws_max_queue = ws_max_queue
        self.ws_ping_interval = ws_ping_interval
        self.ws_ping_timeout = ws_ping_timeout
        self.ws_per_message_deflate = ws_per_message_deflate
        self.lifespan = lifespan
        self.log_config = log_config
        self.log_level = log_level
        self.access_log = access_log is None or access_log  # None has always been as good as True
        self.use_colors = use_colors
        self.interface = interface
        self.reload = reload
        self.reload_delay = reload_delay
        self.proxy_headers = proxy_headers
        self.forwarded_headers: str = forwarded_headers  # type: ignore[assignment]  # a list is joined below
        self.server_header = server_header
        self.date_header = date_header
        self.root_path = root_path
        self.limit_concurrency = limit_concurrency
        self.limit_connections = limit_connections
        self.limit_max_requests = limit_max_requests
        self.limit_max_requests_jitter = limit_max_requests_jitter
        self.limit_request_line = limit_request_line
        self.limit_request_fields = limit_request_fields
        self.limit_request_field_size = limit_request_field_size
        self.limit_request_head = limit_request_head
        self.backlog = backlog
        self.manager = manager
        self.surge = surge
        self.preload = preload
        self.limit_worker_lifetime = limit_worker_lifetime
        self.limit_worker_lifetime_jitter = limit_worker_lifetime_jitter
        self.limit_worker_memory = limit_worker_memory
        self.pid = pid
        self.user = user
        self.group = group
        self.umask = umask
        self.chdir = chdir
        self.proc_name = proc_name
        self.shutdown_delay = shutdown_delay
        self.timeout_keep_alive = timeout_keep_alive
        self.timeout_notify = timeout_notify
        self.timeout_graceful_shutdown = timeout_graceful_shutdown
        self.timeout_worker_boot = timeout_worker_boot
        self.timeout_worker_healthcheck = timeout_worker_healthcheck
        self.timeout_request_header = timeout_request_header
        self.timeout_request_body = timeout_request_body
        self.timeout_write = timeout_write
        self.timeout_tls_handshake = timeout_tls_handshake
        self.callback_notify = callback_notify
        self.ssl_keyfile = ssl_keyfile
        self.ssl_certfile = ssl_certfile
        self.ssl_keyfile_password = ssl_keyfile_password
        self.ssl_version = ssl_version
        self.ssl_cert_reqs = ssl_cert_reqs
        self.ssl_ca_certs = ssl_ca_certs
        self.ssl_ciphers = ssl_ciphers
        self.ssl_context_factory = ssl_context_factory
        self.headers = check_headers(headers)
        self.encoded_headers: list[tuple[bytes, bytes]] = []
        self.factory = factory
        self.h11_max_incomplete_event_size = h11_max_incomplete_event_size
        self.reset_contextvars = reset_contextvars

        for name, one in CHECKED.items():
            given = getattr(self, name)
            accepted = accept(one, given)
            if accepted is not given:
                setattr(self, name, accepted)

        # Which settings somebody gave, by name; None where nobody knows (Config made by a program).
        self.given: frozenset[str] | None = None
        # What the application raised while it was imported or made: its fault, not ours.
        self.app_error: BaseException | None = None
        self.loaded = False
        self._classes_loaded = False

        self.configure_logging()
        self._settle_reload(reload_dirs, reload_includes, reload_excludes)
        if env_file is not None:
            logger.info("Loading environment from '%s'", env_file)
            _load_env_file(env_file)
        # From here on the env file counts as environment.
        self.workers = _workers(accept_workers(workers))
        self.forwarded_allow_ips: list[str] | str = (
            os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
            if forwarded_allow_ips is None
            else check_names("forwarded_allow_ips", forwarded_allow_ips)
        )
        if self.reload and self.workers > 1:
            logger.warning('"workers" flag is ignored when reloading is enabled.')

    def _settle_reload(
        self,
        dirs: list[str] | str | None,
        includes: list[str] | str | None,
        excludes: list[str] | str | None,
    ) -> None:
        self.reload_dirs: list[Path] = []
        self.reload_dirs_excludes: list[Path] = []
        self.reload_includes: list[str] = []
        self.reload_excludes: list[str] = []
        if not self.should_reload:
            if dirs or includes or excludes:
                logger.warning(
                    "Current configuration will not reload as not all conditions are met, "
                    "please refer to documentation."
                )
            return
        asked = _normalize_dirs(dirs)
        self.reload_includes, self.reload_dirs = resolve_reload_patterns(_normalize_dirs(includes), asked)
        self.reload_excludes, self.reload_dirs_excludes = resolve_reload_patterns(_normalize_dirs(excludes), [])
        excluded = set(self.reload_dirs_excludes)
        self.reload_dirs = [
            one for one in self.reload_dirs if is_dir(one) and one not in excluded and not excluded & set(one.parents)
        ]
        if not self.reload_dirs:
            if asked:
                logger.warning(
                    "Provided reload directories %s did not contain valid directories, "
                    "watching current working directory.",
                    asked,
                )
            from pathlib import Path

            self.reload_dirs = [Path.cwd()]
        logger.info("Will watch for changes in these directories: %s", sorted(map(str, self.reload_dirs)))

    @property
    def asgi_version(self) -> Literal["2.0", "3.0"]:
        versions: dict[str, Literal["2.0", "3.0"]] = {"asgi2": "2.0", "asgi3": "3.0", "wsgi": "3.0"}
        return versions[self.interface]

    @property
    def is_ssl(self) -> bool:
        return bool(self.ssl_keyfile or self.ssl_certfile or self.ssl_context_factory)

    @property
    def use_subprocess(self) -> bool:
        return bool(self.reload or self.workers > 1)

    @property
    def should_reload(self) -> bool:
        return isinstance(self.app, str) and self.reload

    def is_given(self, name: str) -> bool:
        """Whether somebody asked for this value of a setting; where nobody knows, whether it is not the default."""
        if self.given is not None:
            return name in self.given
        value = getattr(self, name)
        return bool((tuple(value) if isinstance(value, list) else value) != SETTINGS[name].default)

    def configure_logging(self) -> None:
        """Set up logging as log_config, log_level, access_log and use_colors say. Children call it again."""
        logging.addLevelName(TRACE_LOG_LEVEL, "TRACE")
        logs.number_records()
        if isinstance(self.log_config, dict) and self.use_colors in (True, False):
            self.log_config = logs.with_colours(self.log_config, bool(self.use_colors))
        if self.log_config is not None:
            logs.apply(self.log_config)
        if self.log_level is not None:
            level = logs.level_number(self.log_level)
            for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
                logging.getLogger(name).setLevel(level)
        if not self.access_log:
            access = logging.getLogger("uvicorn.access")
            access.handlers = []
            access.propagate = False

    def prepare(self) -> None:
        """Do the part of `load` that runs no code of the user's, so that processes forked afterwards need not.

        What fails here fails again in `load`, which is where it is raised.
        """
        with contextlib.suppress(Exception):
            if self.http in HTTP_PROTOCOLS and self.ws in WS_PROTOCOLS:
                self._load_classes()
            if self.proxy_headers:
                from uvicorn.server.proxy_headers import trusted_set

                trusted_set(self.forwarded_allow_ips)

    def load(self) -> None:
        """Import the protocol classes and the application, and make the TLS context. Only once.

        Raises ImportFromStringError or ConfigError for our own settings; SystemExit(3), with a line in the log, if
        the application cannot be found; and whatever the application raises.
        """
        assert not self.loaded
        if not self._classes_loaded:
            self._load_classes()
        self.ssl: ssl.SSLContext | None = self._load_ssl()
        # One assignment: instrumentation replaces `loaded_app` by a property of the class, and wraps what is set.
        self.loaded_app: Any = self._wrap(self._make_app(self.load_app()))
        self.loaded = True

    def _load_classes(self) -> None:
        self.http_protocol_class: type[asyncio.Protocol] = import_choice("http", HTTP_PROTOCOLS, self.http or "auto")
        encoded = [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in self.headers]
        if self.server_header and b"server" not in dict(encoded):
            encoded.insert(0, (b"server", b"uvicorn"))
        self.encoded_headers = encoded
        self.ws_protocol_class: type[asyncio.Protocol] | None = import_choice("ws", WS_PROTOCOLS, self.ws)
        if self.lifespan not in LIFESPAN:
            raise ConfigError(f"lifespan: expected one of {', '.join(LIFESPAN)}, got {self.lifespan!r}")
        if self.interface not in INTERFACES:
            raise ConfigError(f"interface: expected one of {', '.join(INTERFACES)}, got {self.interface!r}")
        self.lifespan_class = import_from_string(LIFESPAN[self.lifespan])
        self._classes_loaded = True

    def load_app(self) -> Any:
        """Return the object that `app` names. Exits with 3 if there is none; what its module raises is passed on."""
        try:
            return import_from_string(self.app)
        except ImportFromStringError as error:
            meant = None
            with contextlib.suppress(ImportError):  # another user by now, who cannot read the library
                from uvicorn.suggestions import did_you_mean

                meant = did_you_mean(str(self.app))
            logger.error("Error loading ASGI app. %s%s", error, f" Did you mean {meant}?" if meant else "")
            raise SystemExit(STARTUP_FAILURE) from None
        except Exception as error:
            self.app_error = error
            raise

    def _load_ssl(self) -> ssl.SSLContext | None:
        if not self.is_ssl:
            return None
        if self.ssl_context_factory is None:
            return self._default_ssl_context()
        import ssl

        context = self.ssl_context_factory(self, self._default_ssl_context)
        if not isinstance(context, ssl.SSLContext):
            raise TypeError(
                f"`ssl_context_factory` must return an `ssl.SSLContext`, got {type(context).__name__}"
            ) from None
        return context

    def _default_ssl_context(self) -> ssl.SSLContext:
        if not self.ssl_certfile:
            if self.ssl_context_factory is not None:
                raise RuntimeError(
                    "the default factory needs `ssl_certfile`; set it, or make the `ssl.SSLContext` in "
                    "`ssl_context_factory` without calling the default factory"
                )
            raise ConfigError(f"ssl_keyfile {str(self.ssl_keyfile)!r} needs ssl_certfile, which is not given")
        return create_ssl_context(
            certfile=self.ssl_certfile,
            keyfile=self.ssl_keyfile,
            password=self.ssl_keyfile_password,
            ssl_version=self.ssl_version,
            cert_reqs=self.ssl_cert_reqs,
            ca_certs=self.ssl_ca_certs,
            ciphers=self.ssl_ciphers,
        )

    def _make_app(self, app: Any) -> Any:
        """Call `app` if it is a factory. Without the flag it is tried: a TypeError means that it is none."""
        try:
            made = app()
        except TypeError as error:
            if self.factory:
                logger.error("Error loading ASGI app factory: %s", error)
                raise SystemExit(STARTUP_FAILURE) from None
            return app
        except Exception as error:
            self.app_error = error
            raise
        if not self.factory:
            logger.warning(
                "ASGI app factory detected. Using it, but please consider setting the --factory flag explicitly."
            )
        return made

    def _wrap(self, app: Any) -> Any:
        if self.interface == "auto":
            self.interface = "asgi3" if _is_asgi3(app) else "asgi2"
        if self.interface == "wsgi":
            app = import_from_string("uvicorn.middleware.wsgi:WSGIMiddleware")(app)
            self.ws_protocol_class = None
        elif self.interface == "asgi2":
            app = import_from_string("uvicorn.middleware.asgi2:ASGI2Middleware")(app)
        if logging.getLogger("uvicorn.error").getEffectiveLevel() <= TRACE_LOG_LEVEL:
            app = import_from_string("uvicorn.middleware.message_logger:MessageLoggerMiddleware")(app)
        if self.proxy_headers:
            middleware = import_from_string("uvicorn.middleware.proxy_headers:ProxyHeadersMiddleware")
            # Not named where it is the default: a class in its place may take what upstream's does.
            more = {"headers": self.forwarded_headers.split(",")} if self.is_given("forwarded_headers") else {}
            app = middleware(app, trusted_hosts=self.forwarded_allow_ips, **more)
        return app

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """Return what makes the event loop; None leaves it to asyncio. Exits with 3 if it cannot be imported."""
        if self.loop in LOOP_FACTORIES:
            with naming("loop", self.loop):
                ours = import_from_string(LOOP_FACTORIES[self.loop])
                return ours(use_subprocess=self.use_subprocess) if ours is not None else None
        try:
            return import_from_string(self.loop)  # type: ignore[no-any-return]
        except ImportFromStringError as error:
            logger.error("Error loading custom loop setup function. %s", error)
            raise SystemExit(STARTUP_FAILURE) from None

    def setup_event_loop(self) -> None:
        raise AttributeError(
            "`setup_event_loop` is gone since uvicorn 0.36: use `get_loop_factory` "
            "(https://github.com/Kludex/uvicorn/discussions/2706)."
        )

    def bind_socket(self) -> socket.socket:
        """Return a bound socket that does not listen yet, for `Server.run(sockets=[...])`. Exits with 3 on failure."""
        from uvicorn.listeners import ListenError, bind_one

        try:
            listener, (message, color_message, arguments) = bind_one(self)
        except ListenError as error:
            logger.error("%s", error)
            raise SystemExit(STARTUP_FAILURE) from None
        logger.info(message, *arguments, extra={"color_message": color_message})
        listener.sock.set_inheritable(True)
        return listener.sock


def _workers(workers: int | str | None) -> int:
    if workers is None and (text := os.environ.get("WEB_CONCURRENCY")):
        from uvicorn.kinds import WORKERS

        try:
            workers = WORKERS.parse(text)
        except ValueError as error:
            raise ConfigError(f"WEB_CONCURRENCY: {error}") from None
    if workers == "auto":
        from uvicorn.cpus import available

        return available()
    return int(workers or 1)


def _load_env_file(path: str | os.PathLike[str]) -> None:
    try:
        from dotenv import load_dotenv
    except ImportError:
        raise ConfigError(
            f"env_file {str(path)!r} needs the package python-dotenv: pip install python-dotenv (or uvicorn[standard])"
        ) from None
    load_dotenv(dotenv_path=path)


def _is_asgi3(app: Any) -> bool:
    if isinstance(app, type):
        return hasattr(app, "__await__")
    from uvicorn._compat import iscoroutinefunction

    # A bound method is looked at itself: its __call__ is no coroutine function, whatever it gives.
    if isinstance(app, (FunctionType, MethodType)):
        return iscoroutinefunction(app)
    return iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004 (the method itself is looked at)
