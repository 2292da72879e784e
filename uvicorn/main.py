"""run(): read the settings, then hand over to one server or to a master.

Only the settings are imported here: the master needs nothing else. The names that other packages import from this
module come through `__getattr__`, on first use; so does `main`, the command, which needs click.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, Literal

from uvicorn.errors import STARTUP_FAILURE, USAGE, UsersError
from uvicorn.settings import DEFAULT_BACKLOG, LOGGING_CONFIG, SSL_PROTOCOL_VERSION, not_available

if TYPE_CHECKING:
    import asyncio
    import ssl
    from configparser import RawConfigParser

    from uvicorn._types import ASGIApplication
    from uvicorn.config import LIFESPAN as LIFESPAN
    from uvicorn.config import (
        Config,
        HTTPProtocolType,
        InterfaceType,
        LifespanType,
        LoopFactoryType,
        WSProtocolType,
    )
    from uvicorn.server import Server
    from uvicorn.sources import Resolved

_LAZY = {
    "main": "uvicorn.command",
    "print_version": "uvicorn.command",
    "LEVEL_CHOICES": "uvicorn.command",
    "LIFESPAN_CHOICES": "uvicorn.command",
    "INTERFACE_CHOICES": "uvicorn.command",
    "LOG_LEVELS": "uvicorn.settings",
    "INTERFACES": "uvicorn.settings",
    "LIFESPANS": "uvicorn.settings",
    "Config": "uvicorn.config",
    "Server": "uvicorn.server",
    "LIFESPAN": "uvicorn.config",
    "HTTPProtocolType": "uvicorn.config",
    "WSProtocolType": "uvicorn.config",
    "LifespanType": "uvicorn.config",
    "LoopFactoryType": "uvicorn.config",
    "InterfaceType": "uvicorn.config",
    "logger": "uvicorn.config",
    "ASGIApplication": "uvicorn._types",
    "ChangeReload": "uvicorn.supervisors",
    "Multiprocess": "uvicorn.supervisors",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "ServerState":
        import warnings

        warnings.warn("import ServerState from uvicorn.server, not from uvicorn.main", DeprecationWarning, stacklevel=2)
        return import_module("uvicorn.server").ServerState
    if name in _LAZY:
        try:
            module = import_module(_LAZY[name])
        except ModuleNotFoundError as error:
            if error.name != _LAZY[name]:
                raise
        else:
            found = globals()[name] = getattr(module, name)
            return found
    raise AttributeError(f"module 'uvicorn.main' has no attribute {name!r}")


def _mine(name: str) -> Any:
    """Return a name of this module as it is now: sse-starlette and others replace `Server` here."""
    return getattr(sys.modules[__name__], name)


def version() -> str:
    """Return what --version says."""
    import platform

    from uvicorn import __version__

    system = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    return f"Running uvicorn {__version__} with {system}"


def serve(resolved: Resolved) -> None:
    """Serve what the command was told; the settings are checked, and have an APP. Returns or exits as `run` does."""
    global _given
    from uvicorn.manager import alone
    from uvicorn.precedence import slips

    alone.open_standard_streams()
    alone.unblock_signals()
    for line in slips(os.environ):
        print(f"Warning: {line}", file=sys.stderr)  # logging is configured by the settings, later
    settings = resolved.settings
    if settings.app_dir is not None:
        sys.path.insert(0, settings.app_dir)
    if settings.reload or settings.manager or settings.workers > 1:
        from uvicorn.manager.recipe import here

        if not here():
            print("Error: the working directory is gone, in which the application is to be started", file=sys.stderr)
            sys.exit(STARTUP_FAILURE)
    if settings.reload:
        from uvicorn.reload import run_command

        sys.exit(run_command(settings, resolved.provenance))
    if settings.manager or settings.workers > 1:
        from uvicorn.manager import run_command

        sys.exit(run_command(settings, resolved.provenance))
    arguments = settings.arguments()
    _given = frozenset(resolved.provenance)
    try:
        _mine("run")(arguments.pop("app"), **arguments)
    finally:
        _given = None


_given: frozenset[str] | None = None
"""The settings that the command was given, for the Config of the `run` that it calls; None: a program calls it."""


def run(
    app: ASGIApplication | Callable[..., Any] | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: str | None = None,
    fd: int | list[int] | None = None,
    loop: LoopFactoryType | str = "auto",
    http: type[asyncio.Protocol] | HTTPProtocolType | str = "auto",
    http2: bool = False,
    ws: type[asyncio.Protocol] | WSProtocolType | str = "auto",
    ws_max_size: int = 16777216,
    ws_max_queue: int = 32,
    ws_ping_interval: float | None = 20.0,
    ws_ping_timeout: float | None = 20.0,
    ws_per_message_deflate: bool = True,
    lifespan: LifespanType = "auto",
    interface: InterfaceType = "auto",
    reload: bool = False,
    reload_dirs: list[str] | str | None = None,
    reload_includes: list[str] | str | None = None,
    reload_excludes: list[str] | str | None = None,
    reload_delay: float = 0.25,
    workers: int | Literal["auto"] | None = None,
    env_file: str | os.PathLike[str] | None = None,
    log_config: dict[str, Any] | str | os.PathLike[str] | RawConfigParser | IO[Any] | None = LOGGING_CONFIG,
    log_level: str | int | None = None,
    access_log: bool = True,
    proxy_headers: bool = True,
    server_header: bool = True,
    date_header: bool = True,
    forwarded_allow_ips: list[str] | str | None = None,
    root_path: str = "",
    limit_concurrency: int | None = None,
    backlog: int = DEFAULT_BACKLOG,
    limit_max_requests: int | None = None,
    limit_max_requests_jitter: int = 0,
    timeout_keep_alive: float = 5,
    timeout_graceful_shutdown: float | None = None,
    timeout_worker_healthcheck: float = 5,
    ssl_keyfile: str | os.PathLike[str] | None = None,
    ssl_certfile: str | os.PathLike[str] | None = None,
    ssl_keyfile_password: str | None = None,
    ssl_version: int = SSL_PROTOCOL_VERSION,
    ssl_cert_reqs: int = 0,
    ssl_ca_certs: str | os.PathLike[str] | None = None,
    ssl_ciphers: str | None = None,
    ssl_context_factory: Callable[[Config, Callable[[], ssl.SSLContext]], ssl.SSLContext] | None = None,
    headers: list[tuple[str, str]] | None = None,
    use_colors: bool | None = None,
    app_dir: str | None = None,
    factory: bool = False,
    h11_max_incomplete_event_size: int | None = None,
    reset_contextvars: bool = False,
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
    """Serve `app` until told to stop: here, or with `workers` above 1 as the master of worker processes.

    Reads no UVICORN_* variable and no config file. Returns after SIGINT or the maximum of requests, and dies by SIGTERM
    as a program without handlers would. Raises SystemExit(3) if it could not serve, SystemExit(2) for a value that a
    setting does not take, or one that is not available.
    """
    arguments = dict(locals())
    app_dir = arguments.pop("app_dir")
    if app_dir is not None:
        sys.path.insert(0, app_dir)
    app = arguments.pop("app")

    try:
        config = _mine("Config")(app, **arguments)
    except UsersError as error:
        print(f"Error: {error}", file=sys.stderr)  # logging may be what failed
        sys.exit(error.exit_code)
    import logging

    logger = logging.getLogger("uvicorn.error")
    config.given = _given
    if missing := not_available(config):
        logger.error("%s", missing)
        sys.exit(USAGE)
    if (config.reload or config.manager or config.workers > 1) and not isinstance(app, str):
        logger.warning("You must pass the application as an import string to enable 'reload' or 'workers'.")
        sys.exit(STARTUP_FAILURE)
    if config.should_reload or config.manager or config.workers > 1:
        _need_main_thread()
        _need_guard()
    if config.should_reload:
        _reload(config)
        return
    if config.manager or config.workers > 1:
        from uvicorn.manager import run_config

        code = run_config(config)
        if code:
            sys.exit(code)
        return
    _serve(config)


def _need_main_thread() -> None:
    """Raise ValueError, as `signal.signal` would, but before anything is done, and with the way out."""
    import threading

    if threading.current_thread() is not threading.main_thread():
        raise ValueError(
            "uvicorn.run() with workers, manager or reload works only in the main thread, where signals arrive; in "
            "another one run a single process"
        )


def _need_guard() -> None:
    """Raise if a process of ours is importing the program: it would start processes of its own, and these again."""
    multiprocessing: Any = sys.modules.get("multiprocessing")
    if multiprocessing is None or not getattr(multiprocessing.current_process(), "_inheriting", False):
        return
    frame: Any = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "uvicorn":
        frame = frame.f_back
    raise UsersError(
        f"{frame.f_code.co_filename}, line {frame.f_lineno}: uvicorn.run() with workers, manager or reload starts "
        'processes that import this program too; put the call under: if __name__ == "__main__":'
    )


def _reload(config: Config) -> None:
    """Run a reloader, as a program that wants to have it otherwise would: with the classes of this module."""
    import logging

    from uvicorn.listeners import open_listeners, running_lines
    from uvicorn.manager import alone

    logger = logging.getLogger("uvicorn.error")
    target = _mine("Server")(config).run
    try:
        with contextlib.ExitStack() as stack:
            credentials = alone.check(config)
            alone.take_pid_file(config, stack)
            listeners = open_listeners(config)
            for listener in listeners:
                stack.callback(listener.close)
            alone.give_paths(listeners, credentials)
            for message, color_message, args in running_lines(listeners, config):
                logger.info(message, *args, extra={"color_message": color_message})
            _mine("ChangeReload")(config, target=target, sockets=[listener.sock for listener in listeners]).run()
    except UsersError as error:
        logger.error("%s", error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        pass


def _serve(config: Config) -> None:
    """Run one server in this process. The errors of the application keep their traceback; the user's are one line."""
    from uvicorn.failures import describe
    from uvicorn.manager import alone
    from uvicorn.manager.systemd import Notifier

    notifier = Notifier()
    for name in ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"):
        os.environ.pop(name, None)  # they speak to this process, not to what the application starts
    server: Server | None = None
    try:
        with contextlib.ExitStack() as stack:
            if config.pid is not None:
                stack.enter_context(alone.dying_last())
            opened = alone.settle(config, stack)
            config.load_app()  # before there is a loop: an error at import shows nothing else
            server = _mine("Server")(config)
            server.opened = opened
            server.owns_process = True  # SIGHUP and SIGQUIT are its matter too
            server.on_ready, server.on_accept_stopped = notifier.ready, notifier.stopping
            if notifier.wake_at != float("inf"):  # systemd wants to see that the loop turns
                server.on_heartbeat = lambda: notifier.tick(time.monotonic())
            server.run()
    except KeyboardInterrupt:
        pass
    except Exception as error:
        text = describe(config, error)
        if text is None:
            if isinstance(error, RuntimeError) and _is_inside_a_loop():
                raise RuntimeError(
                    f"{error}: uvicorn.run() was called inside a running event loop, as a notebook has one; there, "
                    "`await uvicorn.Server(uvicorn.Config(app)).serve()`"
                ) from error
            raise
        import logging

        logging.getLogger("uvicorn.error").error("%s", text)
        sys.exit(STARTUP_FAILURE)
    if server is not None and not server.started:
        sys.exit(STARTUP_FAILURE)


def _is_inside_a_loop() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


if __name__ == "__main__":
    __getattr__("main")()
