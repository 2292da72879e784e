"""Signatures, options of the command, Config: seen from inside."""

import functools
import inspect
import json
import logging
import os
import pickle
import signal
import socket
import threading

from probing import asgi3, attempt, config, finish, found, logged, module, observe, plain

import uvicorn

# -- 2.1 to 2.5 signatures ---------------------------------------------------------------------------------------------

SIGNATURES = """
uvicorn:run uvicorn:Config uvicorn:Server uvicorn.server:ServerState uvicorn.main:print_version
uvicorn.server:Server.run uvicorn.server:Server.serve uvicorn.server:Server._serve uvicorn.server:Server.startup
uvicorn.server:Server.main_loop uvicorn.server:Server.on_tick uvicorn.server:Server.shutdown
uvicorn.server:Server.capture_signals uvicorn.server:Server.handle_exit uvicorn.config:Config.load
uvicorn.config:Config.load_app uvicorn.config:Config.configure_logging uvicorn.config:Config.bind_socket
uvicorn.config:Config.get_loop_factory uvicorn.config:create_ssl_context uvicorn.config:is_dir
uvicorn.config:resolve_reload_patterns uvicorn.config:_normalize_dirs uvicorn.importer:import_from_string
uvicorn.logging:ColourizedFormatter uvicorn.logging:DefaultFormatter uvicorn.logging:AccessFormatter
uvicorn.supervisors.basereload:BaseReload uvicorn.supervisors.statreload:StatReload
uvicorn.supervisors.watchfilesreload:WatchFilesReload uvicorn.supervisors.watchfilesreload:FileFilter
uvicorn.supervisors.multiprocess:Multiprocess uvicorn.supervisors.multiprocess:Process
uvicorn.supervisors.multiprocess:Process.is_alive uvicorn.supervisors.multiprocess:Process.ping
uvicorn.supervisors.multiprocess:Process.wait_until_ready uvicorn.supervisors.multiprocess:Process.is_ready
uvicorn._subprocess:get_subprocess uvicorn._subprocess:subprocess_started uvicorn._compat:asyncio_run
uvicorn._ansi:style uvicorn.lifespan.on:LifespanOn uvicorn.lifespan.off:LifespanOff
uvicorn.loops.auto:auto_loop_factory uvicorn.loops.asyncio:asyncio_loop_factory
uvicorn.loops.uvloop:uvloop_loop_factory uvicorn.middleware.asgi2:ASGI2Middleware
uvicorn.middleware.message_logger:MessageLoggerMiddleware uvicorn.middleware.proxy_headers:ProxyHeadersMiddleware
uvicorn.middleware.wsgi:_WSGIMiddleware uvicorn.middleware.wsgi:build_environ uvicorn.protocols.utils:get_remote_addr
uvicorn.protocols.utils:get_local_addr uvicorn.protocols.utils:is_ssl uvicorn.protocols.utils:get_client_addr
uvicorn.protocols.utils:get_path_with_query_string uvicorn.protocols.http.h11_impl:H11Protocol
uvicorn.protocols.http.httptools_impl:HttpToolsProtocol uvicorn.protocols.http.flow_control:FlowControl
uvicorn.protocols.websockets.wsproto_impl:WSProtocol
uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol
uvicorn.supervisors.multiprocess:Multiprocess.run uvicorn.supervisors.multiprocess:Multiprocess.init_processes
uvicorn.supervisors.multiprocess:Multiprocess.restart_all uvicorn.supervisors.multiprocess:Multiprocess.terminate_all
uvicorn.supervisors.multiprocess:Multiprocess.join_all
"""


def default_of(parameter):
    if parameter.default is inspect.Parameter.empty:
        return ""
    return "=dict" if isinstance(parameter.default, dict) else f"={plain(parameter.default)!r}"


for place in SIGNATURES.split():
    path, _, name = place.partition(":")

    @observe(f"signature/{place}")
    def _(path=path, name=name):
        value = functools.reduce(getattr, name.split("."), module(path))
        parameters = list(inspect.signature(value).parameters.values())
        kinds = {inspect.Parameter.KEYWORD_ONLY: "*", inspect.Parameter.VAR_KEYWORD: "**"}
        return [kinds.get(one.kind, "") + one.name + default_of(one) for one in parameters]


# -- 1.1 options -------------------------------------------------------------------------------------------------------

for parameter in uvicorn.main.params:

    @observe(f"option/{parameter.name}")
    def _(one=parameter):
        if one.param_type_name == "argument":
            return [one.opts, one.required]
        default = one.get_default(__import__("click").Context(uvicorn.main))
        default = None if default in ((), [], None) or "UNSET" in repr(default).upper() else plain(default)
        return [one.opts, one.secondary_opts, one.multiple, one.is_flag, default]


@observe("option-order")
def _():
    return [one.name for one in uvicorn.main.params]


# -- 2.3 Config --------------------------------------------------------------------------------------------------------


def asgi2(scope):
    return asgi3


def plain_factory():
    return asgi3


def type_error_inside():
    raise TypeError("inside")


class Object3:
    async def __call__(self, scope, receive, send):
        pass


class Object2:
    def __init__(self, scope):
        pass

    async def __call__(self, receive, send):
        pass


class Bound:
    async def app(self, scope, receive, send):
        pass


class Awaitable2:
    def __init__(self, scope, receive, send):
        pass

    def __await__(self):
        yield


@observe("config/attributes")
def _():
    ours_too = vars(config())
    names = [name for name in inspect.signature(uvicorn.Config.__init__).parameters if name in ours_too]
    return {name: plain(ours_too[name]) for name in [*names, "encoded_headers", "loaded", "reload_dirs_excludes"]}


@observe("config/loaded")
def _():
    one = config(headers=[("X-A", "b"), ("Date", "x")])
    one.load()
    return {
        "headers": [[name.decode(), value.decode()] for name, value in one.encoded_headers],
        "classes": [plain(one.http_protocol_class), plain(one.ws_protocol_class), plain(one.lifespan_class)],
        "app": [type(one.loaded_app).__name__, one.loaded_app.app is asgi3],
        "ssl": one.ssl,
        "again": attempt(one.load),
    }


APPS = [
    asgi3,
    asgi2,
    Object3(),
    Object2,
    Awaitable2,
    functools.partial(asgi3),
    plain_factory,
    type_error_inside,
    Bound().app,
]
for number, application in enumerate(APPS):

    @observe(f"config/interface/{number} {plain(application)}")
    def _(application=application):
        with logged() as lines:
            one = config(application)
            before = attempt(lambda: one.asgi_version)
            one.load()
        return [before, one.interface, one.asgi_version, type(one.loaded_app.app).__name__, lines]


@observe("config/factory")
def _():
    def needs(argument):
        pass

    with logged() as lines:
        results = [attempt(config(app, factory=True).load) for app in (plain_factory, needs, type_error_inside)]
    return [results, lines]


@observe("config/wsgi")
def _():
    one = config(interface="wsgi")
    one.load()
    return [plain(one.ws_protocol_class), one.asgi_version]


@observe("config/properties")
def _():
    several = [config("a:b", reload=True), config("a:b", workers=3), config(reload=True), config(ssl_certfile="x")]
    return [[one.use_subprocess, one.should_reload, one.is_ssl, one.workers] for one in several]


@observe("config/workers")
def _():
    os.environ["WEB_CONCURRENCY"] = "4"
    try:
        return [config(workers=number).workers for number in (None, 0, 1, 2)]
    finally:
        del os.environ["WEB_CONCURRENCY"]


@observe("config/forwarded-allow-ips")
def _():
    os.environ["FORWARDED_ALLOW_IPS"] = "1.2.3.4"
    try:
        return [config().forwarded_allow_ips, config(forwarded_allow_ips="*").forwarded_allow_ips]
    finally:
        del os.environ["FORWARDED_ALLOW_IPS"]


@observe("config/pickles")
def _():
    return vars(pickle.loads(pickle.dumps(config("a:b", port=5))))["port"]


@observe("config/log-levels")
def _():
    for level in ("debug", "TRACE", 30):
        uvicorn.Config(asgi3, log_level=level)
        yield_levels = [logging.getLogger(f"uvicorn{name}").level for name in ("", ".error", ".access", ".asgi")]
        found[f"config/log-level/{level}"] = yield_levels
    uvicorn.Config(asgi3, access_log=False)
    access = logging.getLogger("uvicorn.access")
    return [len(access.handlers), access.propagate, attempt(uvicorn.Config, asgi3, log_level="nope")]


@observe("config/logging-config")
def _():
    return json.loads(json.dumps(uvicorn.config.LOGGING_CONFIG))


@observe("config/removed")
def _():
    return attempt(config().setup_event_loop).partition(":")[0]


@observe("config/loop-factory")
def _():
    results = []
    for name in ("none", "auto", "asyncio", "uvloop"):
        factory = config(loop=name).get_loop_factory()
        results.append(None if factory is None else plain(factory))
    return results


@observe("config/bind-socket")
def _():
    with logged() as lines:
        sock = config(port=0).bind_socket()
    port = sock.getsockname()[1]
    facts = [sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), sock.get_inheritable()]
    sock.close()
    return [facts, [line.replace(str(port), "<port>") for line in lines]]


IMPORTS = ["os", "os:", ":x", "no_such_module:x", "os:nope.more", "os.no_such:x", "os:path.join"]
for text in IMPORTS:

    @observe(f"import/{text}")
    def _(text=text):
        return attempt(module("uvicorn.importer").import_from_string, text)


@observe("import/object")
def _():
    return module("uvicorn.importer").import_from_string(asgi3) is asgi3


# -- 6 supervisors -----------------------------------------------------------------------------------------------------


@observe("supervisors/attributes")
def _():
    supervisors = module("uvicorn.supervisors.multiprocess")
    before = {number: signal.getsignal(number) for number in supervisors.SIGNALS}
    one = supervisors.Multiprocess(config("a:b", workers=3), sockets=[])
    for number, handler in before.items():
        signal.signal(number, handler)
    return [
        one.processes,
        one.processes_num,
        one.sockets,
        one.signal_queue,
        isinstance(one.should_exit, threading.Event),
    ]


@observe("supervisors/reload-patterns")
def _():
    resolve = module("uvicorn.config").resolve_reload_patterns
    return plain(resolve([], []))


finish()
