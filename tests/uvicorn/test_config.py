from __future__ import annotations

import asyncio
import configparser
import io
import json
import logging
import pickle
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Certificates
from uvicorn.config import LOGGING_CONFIG, Config, UvicornDeprecationWarning
from uvicorn.errors import ConfigError, MissingPackage
from uvicorn.importer import ImportFromStringError, import_from_string
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


@pytest.fixture(autouse=True)
def loggers_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)
    names = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
    loggers = [logging.getLogger(name) for name in names]
    before = [(one.level, one.propagate, list(one.handlers)) for one in loggers]
    yield
    for one, (level, propagate, handlers) in zip(loggers, before, strict=True):
        one.level, one.propagate, one.handlers = level, propagate, handlers
        logging.getLogger().manager._clear_cache()  # type: ignore[attr-defined]  # set past setLevel()


async def asgi3(scope: Any, receive: Any, send: Any) -> None: ...


def asgi2(scope: Any) -> Any: ...


class Site:
    """Applications that are bound methods."""

    async def asgi3(self, scope: Any, receive: Any, send: Any) -> None: ...

    @classmethod
    async def asgi3_of_class(cls, scope: Any, receive: Any, send: Any) -> None: ...

    def asgi2(self, scope: Any) -> Any: ...


def wsgi(environ: Any, start_response: Any) -> Any: ...


class Asgi3Object:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class Asgi2Class:
    def __init__(self, scope: Any) -> None: ...


class AwaitableClass:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def __await__(self) -> Any: ...


def make_app() -> Any:
    return asgi3


def make_app_of(name: str) -> Any:
    return asgi3


def failing_factory() -> Any:
    raise LookupError("from the factory")


def loaded(app: Any, **arguments: Any) -> Config:
    config = Config(app, log_config=None, **arguments)
    config.load()
    return config


# -- the application -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "interface", "version"),
    [
        (asgi3, "asgi3", "3.0"),
        (Asgi3Object(), "asgi3", "3.0"),
        (AwaitableClass, "asgi3", "3.0"),
        (Site().asgi3, "asgi3", "3.0"),
        (Site.asgi3_of_class, "asgi3", "3.0"),
        (Site().asgi2, "asgi2", "2.0"),
        (asgi2, "asgi2", "2.0"),
        (Asgi2Class, "asgi2", "2.0"),
        (wsgi, "asgi2", "2.0"),
    ],
)
def test_the_interface_is_detected(app: Any, interface: str, version: str):
    config = loaded(app)
    assert (config.interface, config.asgi_version) == (interface, version)


def test_the_version_is_unknown_before_the_interface_is():
    with pytest.raises(KeyError):
        _ = Config(asgi3, log_config=None).asgi_version


def test_proxy_headers_wrap_everything_else():
    config = loaded(asgi3)
    assert isinstance(config.loaded_app, ProxyHeadersMiddleware)
    assert config.loaded_app.app is asgi3
    assert loaded(asgi3, proxy_headers=False).loaded_app is asgi3


def test_messages_are_logged_at_trace_level_only():
    from uvicorn.middleware.message_logger import MessageLoggerMiddleware

    assert isinstance(loaded(asgi3, log_level="trace").loaded_app.app, MessageLoggerMiddleware)
    assert loaded(asgi3, log_level="debug").loaded_app.app is asgi3


def test_wsgi_has_no_websockets():
    config = loaded(wsgi, interface="wsgi", ws="websockets-sansio")
    assert config.ws_protocol_class is None
    assert config.asgi_version == "3.0"


def test_a_factory_is_called_and_without_the_flag_a_line_says_so(caplog: pytest.LogCaptureFixture):
    assert loaded(make_app, factory=True).loaded_app.app is asgi3
    assert caplog.messages == []
    logging.getLogger("uvicorn").propagate = True
    assert loaded(make_app).loaded_app.app is asgi3
    assert caplog.messages == [
        "ASGI app factory detected. Using it, but please consider setting the --factory flag explicitly."
    ]


def test_a_factory_that_needs_arguments_is_one_line_and_exit_3(caplog: pytest.LogCaptureFixture):
    logging.getLogger("uvicorn").propagate = True
    with pytest.raises(SystemExit) as caught:
        loaded(make_app_of, factory=True)
    assert caught.value.code == 3
    assert caplog.messages == [
        "Error loading ASGI app factory: make_app_of() missing 1 required positional argument: 'name'"
    ]


@pytest.mark.parametrize("factory", [True, False])
def test_what_a_factory_raises_is_passed_on_and_remembered(factory: bool):
    config = Config(failing_factory, log_config=None, factory=factory)
    with pytest.raises(LookupError) as caught:
        config.load()
    assert config.app_error is caught.value


@pytest.mark.parametrize(
    ("app", "line"),
    [
        ("no_such_module:app", 'Error loading ASGI app. Could not import module "no_such_module".'),
        ("os:nope", 'Error loading ASGI app. Attribute "nope" not found in module "os".'),
        ("os", 'Error loading ASGI app. Import string "os" must be in format "<module>:<attribute>".'),
    ],
)
def test_an_app_that_is_not_found_is_one_line_and_exit_3(app: str, line: str, caplog: pytest.LogCaptureFixture):
    logging.getLogger("uvicorn").propagate = True
    with pytest.raises(SystemExit) as caught:
        loaded(app)
    assert caught.value.code == 3
    assert caplog.messages == [line]


def test_config_loads_once():
    config = loaded(asgi3)
    assert config.loaded
    with pytest.raises(AssertionError):
        config.load()


def test_instrumentation_may_replace_loaded_app_by_a_property(monkeypatch: pytest.MonkeyPatch):
    assigned = []

    def assign(self: Config, value: Any) -> None:
        assigned.append(value)

    monkeypatch.setattr(Config, "loaded_app", property(lambda self: "wrapped", assign), raising=False)
    config = loaded(asgi3)
    assert len(assigned) == 1
    assert config.loaded_app == "wrapped"


class Subclass(Config):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.extra = {"own": 1}

    def load(self) -> None:
        super().load()
        self.loaded_app = ("mine", self.loaded_app.app)


def test_a_subclass_may_change_what_is_loaded_and_travels_by_pickle():
    config = pickle.loads(pickle.dumps(Subclass("tests.uvicorn.test_config:asgi3", log_config=LOGGING_CONFIG, port=1)))
    assert (config.port, config.extra) == (1, {"own": 1})
    config = Subclass(asgi3, log_config=None)
    config.load()
    assert config.loaded_app == ("mine", asgi3)


# -- classes ----------------------------------------------------------------------------------------------------------


class OwnProtocol(asyncio.Protocol):
    pass


def test_classes_are_found_by_name():
    from uvicorn.lifespan.off import LifespanOff
    from uvicorn.lifespan.on import LifespanOn
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    config = loaded(asgi3)
    assert config.http_protocol_class is HttpToolsProtocol
    assert config.ws_protocol_class is WebSocketsSansIOProtocol
    assert config.lifespan_class is LifespanOn
    config = loaded(asgi3, http="h11", ws="websockets", lifespan="off")
    assert config.http_protocol_class is H11Protocol
    assert config.ws_protocol_class is WebSocketsSansIOProtocol
    assert config.lifespan_class is LifespanOff
    assert loaded(asgi3, ws="none").ws_protocol_class is None


def test_classes_may_be_given_or_named_by_module():
    path = f"{__name__}:OwnProtocol"
    sys.modules.setdefault(__name__, sys.modules[OwnProtocol.__module__])
    for given in (OwnProtocol, path):
        config = loaded(asgi3, http=given, ws=given)
        assert config.http_protocol_class is OwnProtocol
        assert config.ws_protocol_class is OwnProtocol


@pytest.mark.parametrize("argument", ["http", "ws"])
def test_a_class_that_is_not_found_is_an_import_error_of_ours(argument: str):
    arguments: Any = {argument: "os:nope"}
    with pytest.raises(ImportFromStringError, match="nope"):
        loaded(asgi3, **arguments)


@pytest.mark.parametrize("argument", ["http", "ws"])
def test_a_class_that_is_not_found_names_the_setting(argument: str):
    arguments: Any = {argument: "no_such_module:Class"}
    with pytest.raises(ImportFromStringError, match=f'^{argument}: Could not import module "no_such_module"'):
        loaded(asgi3, **arguments)


@pytest.mark.parametrize(
    ("setting", "package", "needs_it"),
    [
        ("http", "httptools", "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol"),
        ("ws", "wsproto", "uvicorn.protocols.websockets.wsproto_impl:WSProtocol"),
    ],
)
def test_a_protocol_without_its_package_is_one_line(
    setting: str, package: str, needs_it: str, monkeypatch: pytest.MonkeyPatch
):
    def missing(found: Any) -> Any:
        if found == needs_it:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return import_from_string(found)

    monkeypatch.setattr("uvicorn.importer.import_from_string", missing)
    arguments: Any = {setting: package}
    with pytest.raises(MissingPackage) as caught:
        loaded(asgi3, **arguments)
    assert str(caught.value) == (
        f"{setting}: {package} needs the package {package}: pip install {package} (or uvicorn[standard])"
    )
    assert isinstance(caught.value, ImportError)  # as it was


def test_a_loop_without_its_package_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(MissingPackage, match=r"^loop: uvloop needs the package uvloop: pip install uvloop "):
        Config(asgi3, log_config=None, loop="uvloop").get_loop_factory()


@pytest.mark.parametrize("argument", ["lifespan", "interface"])
def test_a_choice_that_does_not_exist_is_an_error(argument: str):
    arguments: Any = {argument: "maybe"}
    with pytest.raises(ConfigError, match=f"^{argument}: expected one of auto, .*, got 'maybe'$"):
        loaded(asgi3, **arguments)


def own_loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@pytest.mark.parametrize("loop", ["auto", "asyncio", "uvloop"])
def test_a_loop_factory_makes_a_loop(loop: str):
    factory = Config(asgi3, log_config=None, loop=loop).get_loop_factory()
    assert factory is not None
    made = factory()
    made.close()
    assert type(made).__module__.startswith("uvloop" if loop != "asyncio" else "asyncio")


def test_a_loop_factory_may_be_the_users_or_nobodys(caplog: pytest.LogCaptureFixture):
    assert Config(asgi3, log_config=None, loop="none").get_loop_factory() is None
    assert Config(asgi3, log_config=None, loop="asyncio:new_event_loop").get_loop_factory() is asyncio.new_event_loop
    logging.getLogger("uvicorn").propagate = True
    with pytest.raises(SystemExit) as caught:
        Config(asgi3, log_config=None, loop="os:nope").get_loop_factory()
    assert caught.value.code == 3
    assert caplog.messages == ['Error loading custom loop setup function. Attribute "nope" not found in module "os".']


def test_setup_event_loop_says_what_took_its_place():
    with pytest.raises(AttributeError, match=r"get_loop_factory.*discussions/2706"):
        Config(asgi3, log_config=None).setup_event_loop()


# -- what is loaded before a fork --------------------------------------------------------------------------------------


PREPARED: list[dict[str, Any]] = [
    {},
    {"http": "h11", "ws": "none"},
    {"http": "h11", "ws": "wsproto", "lifespan": "off"},
    {"headers": [("Server", "x"), ("X-A", "b")], "server_header": True},
    {"server_header": False, "proxy_headers": False},
    {"forwarded_allow_ips": "10.0.0.0/8"},
    {"forwarded_allow_ips": ["10.0.0.1", "a.example"]},
    {"interface": "wsgi"},
]


@pytest.mark.parametrize("arguments", PREPARED, ids=str)
def test_a_config_that_was_prepared_loads_what_another_one_loads(arguments: dict[str, Any]):
    if arguments.get("ws") == "wsproto":
        pytest.importorskip("wsproto")
    plain, prepared = (Config(asgi3, log_config=None, **arguments) for _ in range(2))
    prepared.prepare()
    assert not prepared.loaded
    for one in (plain, prepared):
        one.load()
    assert prepared.loaded
    for name in ("http_protocol_class", "ws_protocol_class", "lifespan_class", "encoded_headers", "interface", "ssl"):
        assert getattr(prepared, name) == getattr(plain, name), name
    assert type(prepared.loaded_app) is type(plain.loaded_app)
    if plain.proxy_headers:
        assert prepared.loaded_app.trusted_hosts is plain.loaded_app.trusted_hosts


def test_preparing_twice_and_loading_needs_the_application_only_when_it_loads():
    config = Config("no_such_module:app", log_config=None)
    config.prepare()
    config.prepare()
    with pytest.raises(SystemExit) as caught:
        config.load()
    assert caught.value.code == 3


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"http": "h12"}, ImportFromStringError),
        ({"ws": "no-such"}, ImportFromStringError),
        ({"http": 7}, ConfigError),
        ({"lifespan": "maybe"}, ConfigError),
        ({"interface": "asgi9"}, ConfigError),
        ({"headers": [("x-snowman", "b")], "forwarded_allow_ips": 7}, TypeError),
    ],
    ids=str,
)
def test_what_cannot_be_prepared_is_told_when_it_is_loaded(arguments: dict[str, Any], error: type[Exception]):
    plain, prepared = (_made(arguments) for _ in range(2))
    prepared.prepare()
    told = []
    for one in (plain, prepared):
        with pytest.raises(error) as caught:
            one.load()
        assert not one.loaded
        told.append(str(caught.value))
    assert told[0] == told[1]


def _made(arguments: dict[str, Any]) -> Config:
    """A Config with values that its maker would refuse: set afterwards, as a program may."""
    config = Config(asgi3, log_config=None)
    for name, value in arguments.items():
        setattr(config, name, value)
    return config


@pytest.mark.parametrize("setting", ["http", "ws"])
def test_a_class_of_the_users_is_not_imported_before_the_fork(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = f"protocol_of_the_users_for_{setting}"
    (tmp_path / f"{name}.py").write_text("import asyncio\nclass Mine(asyncio.Protocol): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = Config(asgi3, log_config=None, **{setting: f"{name}:Mine"})
    config.prepare()
    assert name not in sys.modules
    config.load()
    assert getattr(config, f"{setting}_protocol_class") is sys.modules.pop(name).Mine


# -- headers, workers, the environment --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "server_header", "encoded"),
    [
        (None, True, [(b"server", b"uvicorn")]),
        (None, False, []),
        ([("X-A", " b")], True, [(b"server", b"uvicorn"), (b"x-a", b" b")]),
        ([("Server", "mine")], True, [(b"server", b"mine")]),
        ([("A", "\xe9")], False, [(b"a", b"\xe9")]),
    ],
)
def test_headers_are_encoded_when_loaded(headers: Any, server_header: bool, encoded: list[Any]):
    config = Config(asgi3, log_config=None, headers=headers, server_header=server_header)
    assert config.headers == (headers or [])
    assert config.encoded_headers == []
    config.load()
    assert config.encoded_headers == encoded


def test_workers_come_from_the_argument_then_the_environment(monkeypatch: pytest.MonkeyPatch):
    assert Config(asgi3, log_config=None).workers == 1
    assert Config(asgi3, log_config=None, workers=0).workers == 1
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    assert Config(asgi3, log_config=None).workers == 3
    assert Config(asgi3, log_config=None, workers=2).workers == 2
    monkeypatch.setenv("WEB_CONCURRENCY", "x")
    with pytest.raises(ConfigError, match=r"^WEB_CONCURRENCY: expected an integer of at least 1, or auto, got 'x'$"):
        Config(asgi3, log_config=None)


def test_workers_may_be_auto(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("uvicorn.cpus.available", lambda: 6)
    assert Config(asgi3, log_config=None, workers="auto").workers == 6


def test_trusted_proxies_come_from_the_argument_then_the_environment(monkeypatch: pytest.MonkeyPatch):
    assert Config(asgi3, log_config=None).forwarded_allow_ips == "127.0.0.1,::1"
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    assert Config(asgi3, log_config=None).forwarded_allow_ips == "*"
    assert Config(asgi3, log_config=None, forwarded_allow_ips=["10.0.0.1"]).forwarded_allow_ips == ["10.0.0.1"]


def test_the_env_file_is_loaded_before_the_environment_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "")
    monkeypatch.delenv("WEB_CONCURRENCY")  # so that it is removed again at the end
    monkeypatch.setenv("ALREADY", "set")
    monkeypatch.setenv("NEW_ONE", "")
    monkeypatch.delenv("NEW_ONE")
    file = tmp_path / ".env"
    file.write_text("WEB_CONCURRENCY=4\nALREADY=changed\nNEW_ONE=yes\n")
    config = Config(asgi3, log_config=None, env_file=file)
    import os

    assert config.workers == 4
    assert (os.environ["ALREADY"], os.environ["NEW_ONE"]) == ("set", "yes")
    assert "env_file" not in vars(config)


def test_properties_say_what_the_settings_mean():
    config = Config("a:b", log_config=None)
    assert (config.is_ssl, config.use_subprocess, config.should_reload) == (False, False, False)
    assert Config("a:b", log_config=None, workers=2).use_subprocess
    assert Config("a:b", log_config=None, ssl_keyfile="x").is_ssl
    assert Config("a:b", log_config=None, ssl_certfile="x").is_ssl
    assert Config("a:b", log_config=None, ssl_context_factory=lambda c, f: f()).is_ssl
    assert not Config(asgi3, log_config=None, reload=True).should_reload


def test_given_is_what_somebody_asked_for():
    config = Config("a:b", log_config=None, backlog=100)
    assert config.is_given("backlog")
    assert not config.is_given("port")
    assert not config.is_given("bind")
    config.given = frozenset({"port"})
    assert config.is_given("port")
    assert not config.is_given("backlog")


def test_the_warning_for_old_names_is_seen_by_everybody():
    assert issubclass(UvicornDeprecationWarning, UserWarning)
    assert not issubclass(UvicornDeprecationWarning, DeprecationWarning)


# -- logging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "number"), [("trace", 5), ("INFO", 20), ("Debug", 10), (33, 33)])
def test_the_level_is_that_of_our_three_loggers(level: Any, number: int):
    Config(asgi3, log_level=level)
    for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        assert logging.getLogger(name).level == number
    assert logging.getLogger("uvicorn").level == logging.INFO
    assert logging.getLevelName(5) == "TRACE"


def test_a_level_that_does_not_exist_is_an_error():
    with pytest.raises(ConfigError, match=r"^log_level: expected one of critical, .*, got 'loud'$"):
        Config(asgi3, log_level="loud")


def test_without_access_log_its_logger_is_silent():
    Config(asgi3, access_log=False)
    assert logging.getLogger("uvicorn.access").handlers == []
    assert not logging.getLogger("uvicorn.access").propagate


def test_no_word_on_the_access_log_leaves_it_on():
    """`access_log=settings.get("access_log")`, say."""
    nothing: Any = None
    assert Config(asgi3, access_log=nothing).access_log
    assert logging.getLogger("uvicorn.access").handlers


@pytest.mark.parametrize("use_colors", [True, False])
def test_colours_are_set_in_a_copy_of_the_configuration(use_colors: bool):
    config = Config(asgi3, use_colors=use_colors)
    formatters = config.log_config["formatters"]  # type: ignore[call-overload,index]
    assert formatters["default"]["use_colors"] is use_colors
    assert formatters["access"]["use_colors"] is use_colors
    assert LOGGING_CONFIG["formatters"]["default"]["use_colors"] is None
    assert logging.getLogger("uvicorn").handlers[0].formatter.use_colors is use_colors  # type: ignore[union-attr]
    assert Config(asgi3).log_config is LOGGING_CONFIG


@pytest.mark.parametrize("form", ["dict", "json", "yaml", "yml", "ini", "file", "parser"])
def test_logging_is_configured_from_every_form(form: str, tmp_path: Path):
    table = {"version": 1, "disable_existing_loggers": False, "loggers": {"uvicorn.error": {"level": "ERROR"}}}
    ini = "[loggers]\nkeys=root,u\n[handlers]\nkeys=\n[formatters]\nkeys=\n[logger_root]\nhandlers=\n"
    ini += "[logger_u]\nqualname=uvicorn.error\nlevel=ERROR\nhandlers=\n"
    given: Any = table
    if form in ("json", "yaml", "yml", "ini"):
        given = tmp_path / f"log.{form}"
        given.write_text(ini if form == "ini" else json.dumps(table))  # JSON is YAML
    elif form == "file":
        given = io.StringIO(ini)
    elif form == "parser":
        given = configparser.RawConfigParser()
        given.read_string(ini)
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        Config(asgi3, log_config=given)
        assert logging.getLogger("uvicorn.error").level == logging.ERROR
    finally:
        root.setLevel(level)
        root.handlers = handlers


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("x.json", "{", "cannot be used: Expecting property name"),
        ("x.yaml", "a: [", "cannot be used: "),
        ("x.ini", "nonsense", "cannot be used: "),
        ("x.json", '{"version": 1, "handlers": {"a": {"class": "no.such"}}}', "Unable to configure handler 'a' .*no"),
        ("x.json", None, "No such file or directory"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(tmp_path: Path, name: str, text: str | None, line: str):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=f"^log_config '.*{name}'.*{line}") as caught:
        Config(asgi3, log_config=str(tmp_path / name))
    assert "\n" not in str(caught.value)


# -- reload -----------------------------------------------------------------------------------------------------------


def test_reload_watches_directories_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("src/inner", "templates", "secret"):
        (tmp_path / name).mkdir(parents=True)
    config = Config(
        "a:b",
        log_config=None,
        reload=True,
        reload_dirs=["src", "src/inner", "nope"],
        reload_includes=["*.html", "templates"],
        reload_excludes="secret",
    )
    assert config.reload_dirs == [tmp_path / "src", tmp_path / "templates"]
    assert config.reload_includes == ["*.html", "templates"]
    assert config.reload_dirs_excludes == [tmp_path / "secret"]
    assert Config("a:b", log_config=None, reload=True).reload_dirs == [tmp_path]
    assert Config("a:b", log_config=None, reload=True, reload_dirs="nope").reload_dirs == [tmp_path]


def test_reload_settings_without_reload_are_told(caplog: pytest.LogCaptureFixture):
    logging.getLogger("uvicorn").propagate = True
    config = Config("a:b", log_config=None, reload_dirs="x")
    assert config.reload_dirs == []
    assert caplog.messages == [
        "Current configuration will not reload as not all conditions are met, please refer to documentation."
    ]


# -- TLS --------------------------------------------------------------------------------------------------------------


def test_a_certificate_and_its_key_make_a_context(certificates: Certificates):
    config = loaded(
        asgi3,
        ssl_certfile=certificates.certificate,
        ssl_keyfile=str(certificates.key),
        ssl_ca_certs=certificates.authority,
        ssl_cert_reqs=2,
        ssl_ciphers="ECDHE+AESGCM",
    )
    assert config.ssl is not None
    assert config.ssl.verify_mode is ssl.CERT_REQUIRED
    assert loaded(asgi3).ssl is None


def test_a_factory_makes_the_context_itself_or_from_the_default(certificates: Certificates):
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert loaded(asgi3, ssl_context_factory=lambda config, default: own).ssl is own
    config = loaded(
        asgi3,
        ssl_context_factory=lambda config, default: default(),
        ssl_certfile=certificates.certificate,
        ssl_keyfile=certificates.key,
    )
    assert isinstance(config.ssl, ssl.SSLContext)
    with pytest.raises(TypeError, match=r"^`ssl_context_factory` must return an `ssl.SSLContext`, got int$"):
        loaded(asgi3, ssl_context_factory=lambda config, default: 3)
    with pytest.raises(RuntimeError, match="ssl_certfile"):
        loaded(asgi3, ssl_context_factory=lambda config, default: default())


def test_a_key_without_certificate_is_an_error():
    with pytest.raises(ConfigError, match=r"^ssl_keyfile 'k' needs ssl_certfile, which is not given$"):
        loaded(asgi3, ssl_keyfile="k")


# -- sockets ----------------------------------------------------------------------------------------------------------


def test_bind_socket_binds_without_listening(caplog: pytest.LogCaptureFixture):
    logging.getLogger("uvicorn").propagate = True
    caplog.set_level(logging.INFO)
    with Config("a:b", log_config=None, port=0).bind_socket() as sock:
        port = sock.getsockname()[1]
        assert sock.family == socket.AF_INET
        assert sock.get_inheritable()
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    assert caplog.messages[-1] == f"Uvicorn running on http://127.0.0.1:{port} (Press CTRL+C to quit)"


def test_bind_socket_exits_with_3_when_the_port_is_taken(caplog: pytest.LogCaptureFixture):
    logging.getLogger("uvicorn").propagate = True
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as caught:
            Config("a:b", log_config=None, port=port).bind_socket()
    assert caught.value.code == 3
    assert f"cannot bind 127.0.0.1:{port}: address already in use" in caplog.text
