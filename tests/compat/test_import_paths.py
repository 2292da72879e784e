"""Every import path of upstream exists, with its names."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import warnings

import pytest

PATHS = {
    "uvicorn": "__version__ main run Config Server",
    "uvicorn.main": "main run print_version Config Server STARTUP_FAILURE LOGGING_CONFIG LOG_LEVELS LEVEL_CHOICES "
    "LIFESPAN_CHOICES INTERFACE_CHOICES INTERFACES LIFESPAN SSL_PROTOCOL_VERSION ChangeReload Multiprocess logger",
    "uvicorn.config": "Config LOGGING_CONFIG LOG_LEVELS HTTP_PROTOCOLS WS_PROTOCOLS LIFESPAN LOOP_FACTORIES INTERFACES "
    "SSL_PROTOCOL_VERSION STARTUP_FAILURE TRACE_LOG_LEVEL HTTPProtocolType WSProtocolType LifespanType LoopFactoryType "
    "InterfaceType UvicornDeprecationWarning create_ssl_context is_dir resolve_reload_patterns _normalize_dirs logger",
    "uvicorn.server": "Server ServerState HANDLED_SIGNALS logger",
    "uvicorn.importer": "import_from_string ImportFromStringError",
    "uvicorn.logging": "TRACE_LOG_LEVEL ColourizedFormatter DefaultFormatter AccessFormatter",
    "uvicorn.workers": "UvicornWorker UvicornH11Worker",
    "uvicorn.supervisors": "ChangeReload Multiprocess",
    "uvicorn.supervisors.basereload": "BaseReload HANDLED_SIGNALS _display_path",
    "uvicorn.supervisors.statreload": "StatReload",
    "uvicorn.supervisors.watchfilesreload": "WatchFilesReload FileFilter",
    "uvicorn.supervisors.multiprocess": "Multiprocess Process SIGNALS",
    "uvicorn._subprocess": "get_subprocess subprocess_started spawn",
    "uvicorn._types": "Scope HTTPScope WebSocketScope LifespanScope WWWScope ASGIVersions ASGIReceiveEvent "
    "ASGISendEvent ASGIReceiveCallable ASGISendCallable ASGI2Protocol ASGI2Application ASGI3Application "
    "ASGIApplication Environ ExcInfo StartResponse WSGIApp WebSocketEvent HTTPRequestEvent HTTPResponseStartEvent "
    "HTTPResponseBodyEvent HTTPResponseEarlyHintEvent HTTPResponseTrailersEvent HTTPResponseDebugEvent "
    "HTTPServerPushEvent HTTPDisconnectEvent WebSocketConnectEvent WebSocketAcceptEvent WebSocketReceiveEvent "
    "WebSocketSendEvent WebSocketResponseStartEvent WebSocketResponseBodyEvent WebSocketDisconnectEvent "
    "WebSocketCloseEvent LifespanStartupEvent LifespanShutdownEvent LifespanStartupCompleteEvent "
    "LifespanStartupFailedEvent LifespanShutdownCompleteEvent LifespanShutdownFailedEvent",
    "uvicorn._compat": "asyncio_run iscoroutinefunction",
    "uvicorn._ansi": "style",
    "uvicorn.lifespan.on": "LifespanOn STATE_TRANSITION_ERROR",
    "uvicorn.lifespan.off": "LifespanOff",
    "uvicorn.loops.auto": "auto_loop_factory",
    "uvicorn.loops.asyncio": "asyncio_loop_factory",
    "uvicorn.loops.uvloop": "uvloop_loop_factory",
    "uvicorn.loops.zuvloop": "zuvloop_loop_factory",
    "uvicorn.middleware.asgi2": "ASGI2Middleware",
    "uvicorn.middleware.message_logger": "MessageLoggerMiddleware message_with_placeholders PLACEHOLDER_FORMAT",
    "uvicorn.middleware.proxy_headers": "ProxyHeadersMiddleware _TrustedHosts _parse_raw_hosts _parse_host_port",
    "uvicorn.middleware.wsgi": "WSGIMiddleware _WSGIMiddleware WSGIResponder build_environ",
    "uvicorn.protocols.utils": "ClientDisconnected get_remote_addr get_local_addr is_ssl get_client_addr "
    "get_path_with_query_string",
    "uvicorn.protocols.http.auto": "AutoHTTPProtocol",
    "uvicorn.protocols.http.h11_impl": "H11Protocol RequestResponseCycle STATUS_PHRASES",
    "uvicorn.protocols.http.httptools_impl": "HttpToolsProtocol RequestResponseCycle STATUS_LINE HEADER_RE "
    "HEADER_VALUE_RE",
    "uvicorn.protocols.http.zttp_impl": "ZttpProtocol",
    "uvicorn.protocols.http.zttp_h2_impl": "ZttpH2Protocol",
    "uvicorn.protocols.http.auto_zttp_impl": "AutoZttpProtocol HTTP2_PREFACE",
    "uvicorn.protocols.http.flow_control": "FlowControl HIGH_WATER_LIMIT CLOSE_HEADER service_unavailable",
    "uvicorn.protocols.websockets.auto": "AutoWebSocketsProtocol",
    "uvicorn.protocols.websockets.websockets_impl": "WebSocketProtocol",
    "uvicorn.protocols.websockets.websockets_sansio_impl": "WebSocketsSansIOProtocol",
    "uvicorn.protocols.websockets.wsproto_impl": "WSProtocol",
}

ABSENT = {
    # there is no zttp and no zuvloop: importing these fails as it does upstream without the packages
    "uvicorn.loops.zuvloop",
    "uvicorn.protocols.http.zttp_impl",
    "uvicorn.protocols.http.zttp_h2_impl",
    "uvicorn.protocols.http.auto_zttp_impl",
    # not built yet
}


def imported(path: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(path)
    return sys.modules[path]  # not the attribute: `uvicorn.main` is the command


@pytest.mark.parametrize("path", [path for path in PATHS if path not in ABSENT])
def test_an_import_path_has_its_names(path: str):
    module = imported(path)
    missing = [name for name in PATHS[path].split() if not hasattr(module, name)]
    assert missing == []


@pytest.mark.parametrize("path", sorted(ABSENT))
def test_what_is_absent_is_absent(path: str):
    """Fails when it is not: then it belongs off the list."""
    with pytest.raises(ModuleNotFoundError):
        imported(path)


def test_the_old_websockets_path_warns():
    sys.modules.pop("uvicorn.protocols.websockets.websockets_impl", None)
    from uvicorn.config import UvicornDeprecationWarning

    with pytest.warns(UvicornDeprecationWarning):
        importlib.import_module("uvicorn.protocols.websockets.websockets_impl")


def test_server_state_of_main_warns():
    from uvicorn.server import ServerState

    with pytest.warns(DeprecationWarning, match=r"uvicorn\.server"):
        assert sys.modules["uvicorn.main"].ServerState is ServerState


def test_public_names_are_those_of_upstream():
    import uvicorn

    assert set(uvicorn.__all__) == {"main", "run", "Config", "Server"}
    assert "Server" in dir(uvicorn)
    with pytest.raises(AttributeError, match="module 'uvicorn' has no attribute 'nope'"):
        _ = uvicorn.nope  # type: ignore[attr-defined]


def test_submodules_are_attributes_after_one_import():
    program = "import uvicorn; uvicorn.config.LOGGING_CONFIG; uvicorn.logging.DefaultFormatter; uvicorn.server.Server"
    program += "; uvicorn.importer.import_from_string; uvicorn.protocols; uvicorn.middleware; uvicorn.lifespan"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_replacing_server_in_main_replaces_what_run_uses(monkeypatch: pytest.MonkeyPatch):
    """As sse-starlette and others do, with the module's attribute."""
    import uvicorn

    class Stub:
        started = True

        def __init__(self, config: object) -> None:
            made.append(config)

        def run(self) -> None:
            made.append("ran")

    made: list[object] = []
    monkeypatch.setattr(sys.modules["uvicorn.main"], "Server", Stub)
    uvicorn.run("os:getcwd", log_config=None)
    assert made[1:] == ["ran"]
    assert isinstance(made[0], uvicorn.Config)


def test_style_colours_as_ever():
    from uvicorn._ansi import style

    assert style("x") == "x\x1b[0m"
    assert style("x", "red") == "\x1b[31mx\x1b[0m"
    assert style("x", "bright_red", bold=True) == "\x1b[91m\x1b[1mx\x1b[0m"
    assert style("x", bold=True) == "\x1b[1mx\x1b[0m"


def test_the_distribution_is_what_packages_ask_for():
    """They compare versions (`uvicorn>=0.54,<1`), take the extra, and have their type checkers read ours."""
    import importlib.metadata
    import importlib.resources

    import uvicorn

    metadata = importlib.metadata.metadata("uvicorn")
    assert metadata["Version"] == uvicorn.__version__
    assert (0, 54) <= tuple(map(int, uvicorn.__version__.split(".")[:2])) < (1, 0)
    assert "standard" in metadata.get_all("Provides-Extra", [])
    extra = {re.split(r"\W", one)[0] for one in importlib.metadata.requires("uvicorn") or [] if "extra ==" in one}
    assert extra >= {"httptools", "python", "PyYAML", "uvloop", "watchfiles", "websockets"}
    assert importlib.resources.files("uvicorn").joinpath("py.typed").is_file()
