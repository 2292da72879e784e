"""Every setting, declared once.

The class `Settings` is the table: one line per setting gives its name, default, topic, what it accepts and its help.
From that line come the command line option, the UVICORN_* variable, the key in uvicorn.toml, the attribute of Config,
the argument of run() and the row in docs/settings.md.

Pure: no file, variable or socket is touched here. What a value may be is in uvicorn.kinds, which source beats which in
uvicorn.precedence; uvicorn.sources reads the real environment and files.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from uvicorn.kinds import (
    ADDRESS,
    BOOLEAN,
    COMMA_LIST,
    EXISTING_PATH,
    FORWARDED_HEADERS,
    HEADER,
    MEMORY,
    MODE,
    NUMBER,
    PATH,
    SECONDS,
    TEXT,
    WORKERS,
    Kind,
    choice,
    importable,
    integer,
)

LOG_LEVELS: dict[str, int] = {"critical": 50, "error": 40, "warning": 30, "info": 20, "debug": 10, "trace": 5}
LIFESPANS = ("auto", "on", "off")
INTERFACES = ("auto", "asgi3", "asgi2", "wsgi")
SSL_PROTOCOL_VERSION = 17  # ssl.PROTOCOL_TLS_SERVER, as a number: importing ssl costs the command 10 ms
DEFAULT_BACKLOG = 2048
PREFIX = "UVICORN_"
"""Of the variables of settings."""

# The default of log_config. Here and not in uvicorn.logging, because run() names it in its signature and the command
# must not import logging to print its help.
LOGGING_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "default": {
            "()": "uvicorn.logging.DefaultFormatter",
            "fmt": "%(levelprefix)s %(message)s",
            "use_colors": None,
        },
        "access": {
            "()": "uvicorn.logging.AccessFormatter",
            "fmt": '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s',
        },
    },
    "handlers": {
        "default": {"formatter": "default", "class": "logging.StreamHandler", "stream": "ext://sys.stderr"},
        "access": {"formatter": "access", "class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "uvicorn": {"handlers": ["default"], "level": "INFO", "propagate": False},
        "uvicorn.error": {"level": "INFO"},
        "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}


class Setting:
    """What is known about a setting. Its name is that of the attribute of `Settings` it is assigned to."""

    def __init__(
        self,
        default: Any,
        help: str,
        kind: Kind = TEXT,
        *,
        topic: str,
        option: str = "",  # spelling on the command line, where it is not the name with hyphens
        short: str = "",
        env: tuple[str, ...] = (),  # variables read besides UVICORN_<NAME>, the first that is set wins
        many: bool = False,  # repeatable; the value is a tuple
        flag: str = "",  # "on": --name; "both": --name/--no-name; "": the option takes a value
        secret: bool = False,  # never shown by --check
        command_only: bool = False,  # the command's own: not an argument of Config
        in_file: bool = True,
        in_environment: bool = True,
        python: str = "",  # Config takes more: "any size": numbers out of range; "unchecked": looked at where used
        none: bool = False,  # given to Config, None is a value of its own; else it is the default
    ) -> None:
        self.default, self.help, self.kind, self.topic = default, help, kind, topic
        self.option, self.short, self.env, self.many, self.flag = option, short, env, many, flag
        self.secret, self.command_only, self.in_file = secret, command_only, in_file
        self.in_environment, self.python, self.none = in_environment, python, none

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<Setting {self.name}>"

    @property
    def long_option(self) -> str:
        return "--" + (self.option or self.name.replace("_", "-"))

    @property
    def off_option(self) -> str:
        """The option that turns it off; "" where there is none."""
        return f"--no-{self.long_option[2:]}" if self.flag == "both" else ""

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def variables(self) -> tuple[str, ...]:
        return (self.variable, *self.env) if self.in_environment else ()

    def parse(self, value: object) -> Any:
        """Return the value for text or for a value of a file; ValueError says what was expected, and what came."""
        if not self.many:
            return self.kind.parse(value)
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(self.kind.parse(item) for item in items)

    def parse_variable(self, text: str) -> Any:
        """Several values in one variable are separated by blanks, paths by colons."""
        if not self.many:
            return self.kind.parse(text)
        return self.parse(text.split(":") if self.kind is EXISTING_PATH else text.split())


def setting(default: Any, help: str, kind: Kind = TEXT, **facts: Any) -> Any:
    return Setting(default, help, kind, **facts)


_app = partial(setting, topic="Application")
_listen = partial(setting, topic="Listening")
_worker = partial(setting, topic="Workers")
_reload = partial(setting, topic="Reload")
_protocol = partial(setting, topic="Protocols")
_ws = partial(setting, topic="WebSocket")
_proxy = partial(setting, topic="Headers and proxies")
_limit = partial(setting, topic="Limits")
_timeout = partial(setting, topic="Timeouts")
_tls = partial(setting, topic="TLS")
_log = partial(setting, topic="Logging")
_from = partial(setting, topic="Settings")


class Settings:
    """One value for each setting, checked; it does not change. What the command hands to Config, and a master to its
    workers.

    No dataclass: making one of this size costs the command 10 ms each time it starts.
    """

    app: str | None = _app(None, "The application, as module:attribute.", python="unchecked")
    app_dir: str = _app("", "Look for APP in this directory first (empty: the working directory).", command_only=True)
    factory: bool = _app(False, "APP is a function that returns the application.", BOOLEAN, flag="on")
    interface: str = _app("auto", "How to call APP.", choice(*INTERFACES), python="unchecked")
    lifespan: str = _app("auto", "Whether APP is told of startup and shutdown.", choice(*LIFESPANS), python="unchecked")
    root_path: str = _app("", "The path below which a proxy has mounted APP.")
    env_file: str | None = _app(
        None,
        "Set environment variables for APP from this file (needs python-dotenv).",
        EXISTING_PATH,
        python="unchecked",
    )
    reset_contextvars: bool = _app(
        False, "Run each request in a fresh context, without what the lifespan set.", BOOLEAN, flag="on"
    )

    host: str = _listen("127.0.0.1", "Listen on this address or name.", none=True)
    port: int = _listen(
        8000, "Listen on this port; 0 picks a free one.", integer(0, 65535), python="any size", none=True
    )
    uds: str | None = _listen(None, "Listen on a UNIX domain socket at this path.", PATH)
    fd: tuple[int, ...] | None = _listen(
        None,
        "Listen on the socket inherited as this file descriptor. Repeatable. Those that systemd passes (LISTEN_FDS) "
        "are found without it.",
        integer(0),
        many=True,
    )
    bind: tuple[str, ...] = _listen(
        (),
        "Listen here: host:port, [v6]:port, unix:PATH or fd://N. Repeatable; replaces --host, --port, --uds and --fd.",
        ADDRESS,
        many=True,
    )
    uds_mode: int | None = _listen(None, "Permissions of our UNIX domain sockets, in octal (666 if not given).", MODE)
    backlog: int = _listen(
        DEFAULT_BACKLOG,
        "How many connections may wait to be accepted. An inherited socket that listens keeps its own unless given.",
        integer(0, 2**31 - 1),
        python="any size",
    )

    workers: int = _worker(
        1,
        'How many worker processes; more than one run under a master process. "auto": one for each usable processor.',
        WORKERS,
        env=("WEB_CONCURRENCY",),
        python="unchecked",
    )
    manager: bool = _worker(False, "Run a master process even for one worker.", BOOLEAN, flag="on")
    surge: int = _worker(
        1, "How many workers a restart may start beyond --workers; 0 stops one before it starts another.", integer(0)
    )
    preload: bool = _worker(
        False,
        "Import the application once, then fork: workers share its memory, a failed restart goes back to the old code.",
        BOOLEAN,
        flag="on",
    )
    limit_worker_lifetime: float = _worker(0.0, "Replace a worker that has served this long; 0 never does.", SECONDS)
    limit_worker_lifetime_jitter: float = _worker(
        0.0, "Add up to this at random, so that workers do not end together.", SECONDS
    )
    limit_worker_memory: int | str | None = _worker(
        None,
        "Replace a worker that takes more than this many MiB in three measurements in a row. 80%: of what the "
        "control group (or the machine) has, shared by the workers.",
        MEMORY,
    )
    pid: str | None = _worker(None, "Write the process id to this file, and lock it.", PATH)
    user: str | None = _worker(None, "Serve as this user (name or number); to be started as root. A master stays root.")
    group: str | None = _worker(None, "Serve with this group (name or number).")
    umask: int | None = _worker(None, "File mode mask, in octal.", MODE)
    chdir: str | None = _worker(None, "Change to this directory before APP is imported.", EXISTING_PATH)
    proc_name: str | None = _worker(
        None, "Name in the process titles (needs setproctitle). A master's workers have APP if not given."
    )
    shutdown_delay: float = _worker(
        0.0,
        "At SIGTERM, serve on for this long first, until load balancers send no more.",
        SECONDS,
    )
    timeout_worker_boot: float = _worker(300.0, "How long a worker may take from its start until it serves.", SECONDS)
    timeout_worker_healthcheck: float = _worker(
        5,
        "A worker whose event loop stood still this long is replaced. Not given: a warning after 5, replaced after 30.",
        SECONDS,
        python="any size",
    )

    reload: bool = _reload(False, "Restart when a file changes, for development.", BOOLEAN, flag="on")
    reload_dirs: tuple[str, ...] = _reload(
        (),
        "Watch this directory instead of the working directory. Repeatable.",
        EXISTING_PATH,
        many=True,
        option="reload-dir",
        python="unchecked",
    )
    reload_includes: tuple[str, ...] = _reload(
        (),
        "Watch also files of this pattern (*.py is). Repeatable.",
        many=True,
        option="reload-include",
        python="unchecked",
    )
    reload_excludes: tuple[str, ...] = _reload(
        (), "Do not watch files of this pattern. Repeatable.", many=True, option="reload-exclude", python="unchecked"
    )
    reload_delay: float = _reload(0.25, "How long to wait between two looks at the files.", SECONDS, python="any size")

    loop: str = _protocol(
        "auto",
        "Event loop: a name, or module:factory.",
        importable("auto", "asyncio", "uvloop", "none", unlisted=("zuvloop",)),
        python="unchecked",
    )
    http: str = _protocol(
        "auto",
        "HTTP implementation: a name, or module:Class.",
        importable("auto", "h11", "httptools", unlisted=("zttp",)),
        python="unchecked",
    )
    http2: bool = _protocol(False, "HTTP/2. Not there yet.", BOOLEAN, flag="on")
    h11_max_incomplete_event_size: int | None = _protocol(
        None,
        "Longest request head, line and field, all at once; given, it replaces their limits.",
        integer(1),
        python="any size",
    )

    ws: str = _ws(
        "auto",
        "WebSocket implementation: a name, or module:Class.",
        importable("auto", "none", "websockets", "websockets-sansio", "wsproto"),
        python="unchecked",
    )
    ws_max_size: int = _ws(16777216, "Largest WebSocket message, in bytes.", integer(1), python="any size", none=True)
    ws_max_queue: int = _ws(
        32,
        "How many received WebSocket messages may wait for the application.",
        integer(0),
        python="any size",
        none=True,
    )
    ws_ping_interval: float = _ws(
        20.0, "Time between two pings to a WebSocket client; 0 sends none.", NUMBER, none=True
    )
    ws_ping_timeout: float = _ws(20.0, "How long a WebSocket client may take to answer a ping.", NUMBER, none=True)
    ws_per_message_deflate: bool = _ws(True, "Offer compression to WebSocket clients.", BOOLEAN)

    proxy_headers: bool = _proxy(
        True,
        "Take scheme and client from X-Forwarded-Proto and X-Forwarded-For of a trusted peer.",
        BOOLEAN,
        flag="both",
    )
    forwarded_allow_ips: str = _proxy(
        "127.0.0.1,::1",
        "Peers trusted with these: addresses, networks or names, separated by commas; * trusts all.",
        COMMA_LIST,
        env=("FORWARDED_ALLOW_IPS",),
        python="unchecked",
    )
    forwarded_headers: str = _proxy(
        "x-forwarded-for,x-forwarded-proto",
        "Which headers of a trusted peer are believed: of these, x-forwarded-host, x-forwarded-port and forwarded.",
        FORWARDED_HEADERS,
    )
    server_header: bool = _proxy(True, "Send a Server header.", BOOLEAN, flag="both")
    date_header: bool = _proxy(True, "Send a Date header.", BOOLEAN, flag="both")
    headers: tuple[tuple[str, str], ...] = _proxy(
        (),
        "Send this header with each response, as Name:Value. Repeatable.",
        HEADER,
        many=True,
        option="header",
        python="unchecked",
    )

    limit_concurrency: int | None = _limit(
        None, "Answer 503 from this many connections or requests in progress on.", integer(1), python="any size"
    )
    limit_connections: int | None = _limit(
        None, "How many connections a process holds (if not given: 100 less than the files it may open).", integer(1)
    )
    limit_max_requests: int | None = _limit(
        None, "End the process after this many requests (a worker is replaced).", integer(1), python="any size"
    )
    limit_max_requests_jitter: int = _limit(
        0, "Add up to this many at random, so that workers do not end together.", integer(0), python="any size"
    )
    limit_request_line: int = _limit(8190, "Longest request line, in bytes (414).", integer(1, 65536))
    limit_request_fields: int = _limit(100, "Most header fields in a request (431).", integer(1))
    limit_request_field_size: int = _limit(16384, "Longest header field, in bytes (431).", integer(1))
    limit_request_head: int = _limit(65536, "Largest request head, in bytes (431).", integer(1))

    timeout_keep_alive: float = _timeout(
        5, "Close a connection that has been idle this long.", SECONDS, python="any size"
    )
    timeout_request_header: float = _timeout(
        10.0, "A request head must be complete within this; 0 waits for ever.", SECONDS
    )
    timeout_request_body: float = _timeout(
        30.0, "While the application waits for the body, some of it must come within this; 0 waits for ever.", SECONDS
    )
    timeout_write: float = _timeout(
        60.0, "Drop a client that takes nothing of its response for this long; 0 waits for ever.", SECONDS
    )
    timeout_tls_handshake: float = _timeout(
        10.0, "A TLS handshake must be done within this; 0 waits for ever.", SECONDS
    )
    timeout_graceful_shutdown: float | None = _timeout(
        None,
        "At a stop, cancel what still runs after this. Not given: 30 under a master, else never.",
        SECONDS,
        python="any size",
    )

    ssl_keyfile: str | None = _tls(None, "Private key file.", PATH)
    ssl_certfile: str | None = _tls(None, "Certificate file (the whole chain).", PATH)
    ssl_keyfile_password: str | None = _tls(None, "Password of the private key.", secret=True)
    ssl_version: int = _tls(SSL_PROTOCOL_VERSION, "Protocol, as a number of Python's ssl module.", integer(0))
    ssl_cert_reqs: int = _tls(0, "Client certificates: 0 none, 1 if the client has one, 2 required.", integer(0, 2))
    ssl_ca_certs: str | None = _tls(None, "Certificate authorities that client certificates are checked against.", PATH)
    ssl_ciphers: str | None = _tls(None, "Ciphers, in OpenSSL's notation (OpenSSL's own choice if not given).")

    log_config: str | None = _log(
        None, "Configure logging from this file (.json, .yaml or .ini).", EXISTING_PATH, python="unchecked"
    )
    log_level: str | None = _log(
        None, "Least level that is logged (info if not given).", choice(*LOG_LEVELS), python="unchecked"
    )
    access_log: bool = _log(True, "Log each request.", BOOLEAN, flag="both")
    use_colors: bool | None = _log(None, "Colours in the log (if not given: on a terminal).", BOOLEAN, flag="both")

    config: str | None = _from(
        None,
        "Read settings from this file (uvicorn.toml if there is one; see docs/settings.md).",
        EXISTING_PATH,
        short="-c",
        command_only=True,
        in_file=False,
    )
    check: bool = _from(
        False,
        "Show each setting and where it came from, try application and sockets, and exit: 0 if all is well, else 3.",
        BOOLEAN,
        flag="on",
        command_only=True,
        in_file=False,
        in_environment=False,
    )

    def __init__(self, **values: Any) -> None:
        """Take values by name; what is not named has its default."""
        if unknown := values.keys() - SETTINGS.keys():
            raise TypeError(f"there are no settings {', '.join(sorted(unknown))}")
        self.__dict__.update({name: one.default for name, one in SETTINGS.items()}, **values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("settings do not change; use replace()")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = (
            f"{n}={getattr(self, n)!r}" for n, one in SETTINGS.items() if not one.secret and not self._is_default(n)
        )
        return f"Settings({', '.join(shown)})"

    def _is_default(self, name: str) -> bool:
        return bool(getattr(self, name) == SETTINGS[name].default)

    def replace(self, **changes: Any) -> Settings:
        return Settings(**{**self.__dict__, **changes})

    def to_json(self) -> str:
        """Return these settings as text for another process; `from_json` is the inverse."""
        import json

        return json.dumps(self.__dict__)

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Return the settings that `to_json` wrote. Keys that this version does not know are an error (TypeError)."""
        import json

        return cls(**{name: _tuples(value) for name, value in json.loads(text).items()})

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of Config for these settings (and of run(), but for `app_dir`)."""
        found: dict[str, Any] = {}
        for one in SETTINGS.values():
            if not one.command_only:
                value = getattr(self, one.name)
                found[one.name] = list(value) if one.many and value is not None else value
        if self.fd is not None and len(self.fd) == 1:
            found["fd"] = self.fd[0]  # a number, as it always was
        for name in ("reload_dirs", "reload_includes", "reload_excludes"):
            found[name] = found[name] or None
        if self.log_config is None:
            found["log_config"] = LOGGING_CONFIG  # for Config, None means: leave logging alone
        return found


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


SETTINGS: Mapping[str, Setting] = {name: one for name, one in vars(Settings).items() if isinstance(one, Setting)}

# What the settings of a run came from: the name of a setting that was given -> "--port", "UVICORN_PORT" or
# "port in uvicorn.toml". A setting that is not in it has its default.
Provenance = Mapping[str, str]


def not_available(settings: Any) -> str | None:
    """Say what `settings` (these, or a Config) ask for that is not there, in one line; None if all is there."""
    if settings.http == "zttp":
        return "http: zttp is not available; use auto, httptools or h11"
    if settings.http2:
        return "http2: HTTP/2 is not available yet; put a proxy that speaks it in front"
    if settings.loop == "zuvloop":
        return "loop: zuvloop is not available; use auto, uvloop or asyncio"
    return None
