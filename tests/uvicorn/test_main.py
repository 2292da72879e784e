"""The command, through click and as a process: its help, its errors and exit codes, and run()."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import uvicorn
from tests import conftest
from tests.support.processes import Running, free_port, in_environment
from tests.support.wire import Wire
from uvicorn.settings import SETTINGS

COMMAND = sys.modules["uvicorn.main"]
"""The module; the attribute of the package is the command."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What the command asks run() for, given these arguments, variables and files."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("UVICORN_") or name in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
            monkeypatch.delenv(name)

    def ask(*arguments: str, env: dict[str, str] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with monkeypatch.context() as patch:
            patch.setattr(COMMAND, "run", lambda app, **given: found.update(given, app=app))
            patch.setattr(sys, "path", list(sys.path))
            result = CliRunner().invoke(uvicorn.main, list(arguments), env=env, catch_exceptions=False)
        if result.exit_code:
            raise AssertionError(f"exit code {result.exit_code}: {result.output}")
        return found

    return ask


def refused(*arguments: str, env: dict[str, str] | None = None) -> str:
    """The last line of a command that must exit with 2."""
    result = CliRunner().invoke(uvicorn.main, list(arguments), env=env)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    return result.output.strip().splitlines()[-1]


# -- options ----------------------------------------------------------------------------------------------------------


def test_the_attribute_of_the_package_is_the_command():
    assert isinstance(uvicorn.main, click.Command)
    assert uvicorn.main.name == "main"
    assert uvicorn.main.callback is not None
    assert sys.modules["uvicorn.main"] is not uvicorn.main


@pytest.mark.parametrize(
    "first",
    [
        "import uvicorn.main",
        "import uvicorn.main as main",
        "from uvicorn.main import main",
        "from uvicorn import main",
        "from uvicorn import *",
        "import importlib, uvicorn; importlib.reload(uvicorn)",
        "import sys, uvicorn; del sys.modules['uvicorn']",
    ],
)
def test_the_attribute_is_the_command_whatever_is_imported_first(first: str):
    program = f"{first}\nimport click, sys, uvicorn\nprint(uvicorn.main is sys.modules['uvicorn.main'].main)\n"
    program += (
        "assert isinstance(uvicorn.main, click.Command)\nassert globals().get('main', uvicorn.main) is uvicorn.main\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.stdout == "True\n", ran.stderr


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--host", "0.0.0.0"], "host", "0.0.0.0"),
        (["--port", "0"], "port", 0),
        (["--uds", "/s"], "uds", "/s"),
        (["--fd", "0"], "fd", 0),
        (["--bind", ":1", "--bind", "unix:/s"], "bind", [":1", "unix:/s"]),
        (["--uds-mode", "660"], "uds_mode", 0o660),
        (["--backlog", "7"], "backlog", 7),
        (["--loop", "asyncio"], "loop", "asyncio"),
        (["--loop", "my:loop"], "loop", "my:loop"),
        (["--http", "h11"], "http", "h11"),
        (["--http", "my:Protocol"], "http", "my:Protocol"),
        (["--h11-max-incomplete-event-size", "9"], "h11_max_incomplete_event_size", 9),
        (["--ws", "none"], "ws", "none"),
        (["--ws-max-size", "9"], "ws_max_size", 9),
        (["--ws-max-queue", "9"], "ws_max_queue", 9),
        (["--ws-ping-interval", "0"], "ws_ping_interval", 0),
        (["--ws-ping-timeout", "2.5"], "ws_ping_timeout", 2.5),
        (["--ws-per-message-deflate", "false"], "ws_per_message_deflate", False),
        (["--lifespan", "off"], "lifespan", "off"),
        (["--interface", "wsgi"], "interface", "wsgi"),
        (["--log-level", "trace"], "log_level", "trace"),
        (["--no-access-log"], "access_log", False),
        (["--use-colors"], "use_colors", True),
        (["--no-use-colors"], "use_colors", False),
        (["--no-proxy-headers"], "proxy_headers", False),
        (["--no-server-header"], "server_header", False),
        (["--no-date-header"], "date_header", False),
        (["--forwarded-allow-ips", "*"], "forwarded_allow_ips", "*"),
        (["--root-path", "/a"], "root_path", "/a"),
        (["--header", "A:1", "--header", "B: 2"], "headers", [("A", "1"), ("B", " 2")]),
        (["--limit-concurrency", "9"], "limit_concurrency", 9),
        (["--limit-connections", "9"], "limit_connections", 9),
        (["--limit-max-requests", "9"], "limit_max_requests", 9),
        (["--limit-max-requests-jitter", "9"], "limit_max_requests_jitter", 9),
        (["--limit-request-line", "9"], "limit_request_line", 9),
        (["--limit-request-fields", "9"], "limit_request_fields", 9),
        (["--limit-request-field-size", "9"], "limit_request_field_size", 9),
        (["--limit-request-head", "9"], "limit_request_head", 9),
        (["--timeout-keep-alive", "0"], "timeout_keep_alive", 0),
        (["--timeout-graceful-shutdown", "0"], "timeout_graceful_shutdown", 0),
        (["--timeout-worker-healthcheck", "9"], "timeout_worker_healthcheck", 9),
        (["--timeout-worker-boot", "9"], "timeout_worker_boot", 9),
        (["--timeout-request-header", "9"], "timeout_request_header", 9),
        (["--timeout-request-body", "9"], "timeout_request_body", 9),
        (["--timeout-write", "9"], "timeout_write", 9),
        (["--timeout-tls-handshake", "9"], "timeout_tls_handshake", 9),
        (["--surge", "2"], "surge", 2),
        (["--workers", "0"], "workers", 1),
        (["--ssl-keyfile", "k"], "ssl_keyfile", "k"),
        (["--ssl-certfile", "c"], "ssl_certfile", "c"),
        (["--ssl-keyfile-password", "p"], "ssl_keyfile_password", "p"),
        (["--ssl-version", "2"], "ssl_version", 2),
        (["--ssl-cert-reqs", "2"], "ssl_cert_reqs", 2),
        (["--ssl-ca-certs", "a"], "ssl_ca_certs", "a"),
        (["--ssl-ciphers", "x"], "ssl_ciphers", "x"),
        (["--reset-contextvars"], "reset_contextvars", True),
        (["--factory"], "factory", True),
        (["--reload-include", "*.x"], "reload_includes", ["*.x"]),
        (["--reload-exclude", "*.x"], "reload_excludes", ["*.x"]),
        (["--reload-dir", "."], "reload_dirs", ["."]),
        (["--reload-delay", "1"], "reload_delay", 1),
    ],
)
def test_an_option_reaches_run(asked: Any, arguments: list[str], name: str, value: object):
    default = asked("a:b")
    found = asked("a:b", *arguments)
    assert found[name] == value
    if name != "workers":
        assert default[name] != value
    assert {key: found[key] for key in found if key != name} == {key: default[key] for key in default if key != name}


def test_command_line_environment_and_file_meet_in_run(asked: Any, tmp_path: Path):
    (tmp_path / "uvicorn.toml").write_text("port = 1\nhost = 'file'\nroot_path = '/file'\n")
    found = asked("a:b", "--port", "3", env={"UVICORN_PORT": "2", "UVICORN_HOST": "env"})
    assert (found["app"], found["port"], found["host"], found["root_path"]) == ("a:b", 3, "env", "/file")


def test_the_app_may_come_from_the_environment_or_the_file(asked: Any, tmp_path: Path):
    assert asked(env={"UVICORN_APP": "env:app"})["app"] == "env:app"
    (tmp_path / "uvicorn.toml").write_text("app = 'file:app'\n")
    assert asked()["app"] == "file:app"


def test_the_app_directory_comes_first_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for arguments, first in ((["a:b"], ""), (["a:b", "--app-dir", "/x"], "/x")):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", list(sys.path))
            found: list[str] = []
            patch.setattr(COMMAND, "run", lambda app, found=found, **given: found.append(sys.path[0]))
            CliRunner().invoke(uvicorn.main, arguments, catch_exceptions=False)
        assert found == [first]


def test_a_program_may_call_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UVICORN_HOST", "env")
    monkeypatch.setattr(sys, "path", list(sys.path))
    found: dict[str, Any] = {}
    monkeypatch.setattr(COMMAND, "run", lambda app, **given: found.update(given, app=app))
    everything = {param.name: param.default for param in uvicorn.main.params if param.name != "version"}

    @click.command()
    @click.option("--port", default=9)
    @click.pass_context
    def theirs(context: click.Context, port: int) -> None:
        uvicorn.main.callback(**{**everything, "app": "a:b", "port": port, "headers": ["A:1"]})  # type: ignore[misc]
        assert (found["app"], found["port"], found["host"], found["headers"]) == ("a:b", 9, "env", [("A", "1")])
        context.invoke(uvicorn.main, app="c:d", port=port + 1, log_level="debug")
        assert (found["app"], found["port"], found["host"], found["log_level"]) == ("c:d", 10, "env", "debug")

    result = CliRunner().invoke(theirs, catch_exceptions=False)
    assert result.exit_code == 0, result.output


BAD = {
    "INTEGER": "x",
    "SECONDS": "soon",
    "NUMBER|auto": "-1",
    "MODE": "rw",
    "NAME:VALUE": "foo",
    "ADDRESS": "8000",
    "BOOLEAN": "maybe",
}


@pytest.mark.parametrize(
    "name", [name for name, one in SETTINGS.items() if one.kind.choices or one.kind.metavar in BAD]
)
def test_a_bad_value_exits_with_2_and_one_line_from_every_source(name: str, tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    one = SETTINGS[name]
    bad = BAD.get(one.kind.metavar, "nonsense")
    expected = f"expected {one.kind.expected}, got '{bad}'"
    if not one.flag:
        line = refused("a:b", one.long_option, bad)
        assert line == f"Error: Invalid value for '{one.long_option}': {expected}"
    if one.in_environment:
        assert refused("a:b", env={one.variable: bad}) == f"Error: {one.variable}: {expected}"
    if one.in_file:
        (tmp_path / "uvicorn.toml").write_text(f"{name} = '{bad}'\n")
        assert refused("a:b") == f"Error: {name} in uvicorn.toml: {expected}"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "Error: Missing argument 'APP'."),
        (["a:b", "c:d"], "Error: Got unexpected extra argument (c:d)"),
        (
            ["a:b", "--port", "65536"],
            "Error: Invalid value for '--port': expected an integer from 0 to 65535, got '65536'",
        ),
        (["a:b", "--env-file", "nope"], "Error: --env-file: there is no file or directory 'nope'"),
        (["a:b", "--log-config", "nope"], "Error: --log-config: there is no file or directory 'nope'"),
        (["a:b", "--reload-dir", "nope"], "Error: --reload-dir: there is no file or directory 'nope'"),
        (["a:b", "--config", "nope"], "Error: --config: there is no file 'nope'"),
        (
            ["a:b", "--bind", ":1", "--port", "2"],
            "Error: --bind and --port exclude each other; say everything with --bind",
        ),
        (["a:b", "--http", "zttp"], "Error: http: zttp is not available; use auto, httptools or h11"),
        (["a:b", "--http2"], "Error: http2: HTTP/2 is not available yet; put a proxy that speaks it in front"),
        (["a:b", "--loop", "zuvloop"], "Error: loop: zuvloop is not available; use auto, uvloop or asyncio"),
    ],
)
def test_what_is_wrong_or_not_there_exits_with_2(arguments: list[str], line: str, tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    assert refused(*arguments) == line


def test_an_unknown_option_exits_with_2():
    assert re.match("Error: No such option:? '?--prot'?", refused("a:b", "--prot", "1"))


# -- help and version -------------------------------------------------------------------------------------------------


def test_help_has_each_option_with_default_and_variable():
    result = CliRunner().invoke(uvicorn.main, ["--help"])
    assert result.exit_code == 0
    text = re.sub(r"\s+", " ", result.output)
    assert text.startswith("Usage: main [OPTIONS] APP ")
    for one in SETTINGS.values():
        if one.name == "app":
            continue
        assert f" {one.long_option} " in text
        assert f"{one.topic}:" in text
        for variable in one.variables:
            assert f"{variable}]" in text or f"{variable};" in text
    assert "--port INTEGER Listen on this port; 0 picks a free one. [default: 8000; UVICORN_PORT]" in text
    assert "-c, --config PATH" in text
    assert max(map(len, result.output.splitlines())) <= 80


def test_help_has_each_topic_once():
    lines = CliRunner().invoke(uvicorn.main, ["--help"]).output.splitlines()
    topics = [line[:-1] for line in lines if re.fullmatch(r"\w[\w ]+:", line)]
    assert topics == list(dict.fromkeys(one.topic for one in SETTINGS.values()))


def test_version_names_uvicorn_python_and_system():
    result = CliRunner().invoke(uvicorn.main, ["--version"])
    assert result.exit_code == 0
    assert re.fullmatch(r"Running uvicorn \S+ with \w+ 3\.\d+\.\S+ on \w+\n", result.output)
    assert f" {uvicorn.__version__} " in result.output


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_no_server(option: str):
    program = (
        "import sys, uvicorn\n"
        f"try: uvicorn.main(['{option}'])\n"
        "except SystemExit: pass\n"
        "heavy = {'asyncio', 'ssl', 'logging', 'socket', 'uvloop', 'json', 'uvicorn.config', 'uvicorn.server'}"
        "\nprint(sorted(heavy & sys.modules.keys()))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.stdout.splitlines()[-1] == "[]", ran.stderr


# -- as a process -----------------------------------------------------------------------------------------------------


def ends(tmp_path: Path, *arguments: str, source: str | None = None, **env: str) -> tuple[int, str]:
    """Exit code and standard error of a command that is expected to end by itself."""
    if source is not None:
        (tmp_path / "app.py").write_text(source)
    ran = subprocess.run(
        [sys.executable, "-m", "uvicorn", *arguments],
        cwd=tmp_path,
        env=in_environment(RES_OPTIONS="timeout:1 attempts:1", **env),  # resolv.conf(5)
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ran.returncode, ran.stderr


HELLO = "async def app(scope, receive, send):\n    assert scope['type'] == 'lifespan'\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nope:app"], 'ERROR:    Error loading ASGI app. Could not import module "nope".'),
        (["app:nope"], 'ERROR:    Error loading ASGI app. Attribute "nope" not found in module "app".'),
        (["app"], 'ERROR:    Error loading ASGI app. Import string "app" must be in format "<module>:<attribute>".'),
        (
            ["app:app", "--ssl-certfile", "nope"],
            "ERROR:    ssl_certfile: cannot read 'nope': No such file or directory",
        ),
        (["app:app", "--ssl-keyfile", "nope"], "ERROR:    ssl_keyfile 'nope' needs ssl_certfile, which is not given"),
        (["app:app", "--http", "app:Nope"], 'ERROR:    http: Attribute "Nope" not found in module "app".'),
        (["app:app", "--ws", "app:Nope"], 'ERROR:    ws: Attribute "Nope" not found in module "app".'),
        (
            ["app:app", "--loop", "app:nope"],
            'ERROR:    Error loading custom loop setup function. Attribute "nope" not found in module "app".',
        ),
        (["app:app", "--log-config", "app.py"], "Error: log_config 'app.py' cannot be used: "),
        (["app:app", "--fd", "0"], "ERROR:    fd 0 is not a listening socket but a character device"),
        (["app:app", "--fd", "99"], "ERROR:    fd 99: bad file descriptor"),
        (["app:app", "--uds", "/no/such/s"], "ERROR:    [Errno 2] cannot bind unix:/no/such/s: there is no directory"),
        (["app:app", "--host", "no-such.invalid"], "ERROR:    cannot resolve host 'no-such.invalid': "),
    ],
)
def test_what_keeps_it_from_serving_exits_with_3_and_one_line(tmp_path: Path, arguments: list[str], line: str):
    code, errors = ends(tmp_path, *arguments, source=HELLO)
    assert code == 3, errors
    assert "Traceback" not in errors
    assert errors.strip().splitlines()[-1].startswith(line), errors


@pytest.mark.parametrize("preload", [[], ["--preload"]])
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--ssl-certfile", "nope"], "ERROR:    ssl_certfile: cannot read 'nope': No such file or directory"),
        (["--http", "app:Nope"], 'ERROR:    http: Attribute "Nope" not found in module "app".'),
        (["--loop", "uvloop"], "ERROR:    loop: uvloop needs the package uvloop: pip install uvloop "),
    ],
)
def test_what_keeps_workers_from_serving_is_told_by_one_of_them_in_one_line(
    tmp_path: Path, arguments: list[str], line: str, preload: list[str]
):
    source = f"import sys\nsys.modules['uvloop'] = None\n{HELLO}"  # as if it were not installed
    code, errors = ends(tmp_path, "app:app", *arguments, "--workers", "2", "--port", "0", *preload, source=source)
    assert code == 3, errors
    assert "Traceback" not in errors
    assert sum(one.startswith(line) for one in errors.splitlines()) == 1, errors


@pytest.mark.parametrize(
    ("source", "last"),
    [
        ("import no_such_dependency", "ModuleNotFoundError: No module named 'no_such_dependency'"),
        ("def app(:", "SyntaxError: invalid syntax"),
        ("raise ValueError('at import')", "ValueError: at import"),
        ("def app():\n    raise LookupError('in the factory')", "LookupError: in the factory"),
    ],
)
def test_what_the_app_raises_is_its_own_traceback_and_exits_with_3(tmp_path: Path, source: str, last: str):
    code, errors = ends(tmp_path, "app:app", source=source)
    assert code == 3
    assert errors.count("Traceback (most recent call last)") == (0 if last.startswith("SyntaxError") else 1)
    assert errors.strip().splitlines()[-1] == last
    assert "ERROR:    Error loading ASGI app 'app:app'\n" in errors
    named = re.findall(r'File "([^"]+)"', errors)
    assert named == [str(tmp_path / "app.py")]


def test_a_taken_port_exits_with_3_and_names_its_holder(tmp_path: Path, uvicorn: Any):
    first = uvicorn()
    code, errors = ends(tmp_path, "app:app", "--port", str(first.port))
    assert code == 3
    assert f"address already in use by pid {first.pid} (" in errors
    assert "Waiting for application startup" not in errors


def test_a_failed_startup_exits_with_3(tmp_path: Path):
    source = (
        "async def app(scope, receive, send):\n    await send({'type': 'lifespan.startup.failed', 'message': ''})\n"
    )
    code, errors = ends(tmp_path, "app:app", "--port", "0", source=source)
    assert code == 3
    assert errors.strip().splitlines()[-1] == "ERROR:    Application startup failed. Exiting."


def test_sigint_ends_with_0_and_sigterm_by_the_signal(uvicorn: Callable[..., Running]):
    for number, status in ((signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)):
        server = uvicorn()
        server.signal(number)
        assert server.wait() == status


def test_an_inherited_socket_is_served(uvicorn: Callable[..., Running]):
    with socket.create_server(("127.0.0.1", 0)) as given:
        server = uvicorn("--fd", "0", stdin=given.fileno())
        address = given.getsockname()
        server.wait_for(re.escape(f"Uvicorn running on socket {address!r} (Press CTRL+C to quit)"))
        with Wire.connect(address) as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert wire.read_response().status == 200


def test_a_file_of_settings_is_served(tmp_path: Path):
    port = free_port()
    (tmp_path / "uvicorn.toml").write_text(f'bind = ["127.0.0.1:{port}", "unix:s.sock"]\nheaders = ["X-From: file"]\n')
    (tmp_path / "app.py").write_text(conftest.HELLO)
    with Running("app:app", cwd=tmp_path) as server:
        server.wait_for("Uvicorn running on", count=2)
        for address in (("127.0.0.1", port), str(tmp_path / "s.sock")):
            with Wire.connect(address) as wire:
                wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (b"x-from", b"file") in wire.read_response().headers
        assert server.stop() == -signal.SIGTERM
    assert not (tmp_path / "s.sock").exists()


def test_check_shows_sources_and_exits_with_0_or_3(tmp_path: Path):
    (tmp_path / "uvicorn.toml").write_text("root_path = '/a'\n")
    source = HELLO + "    for word in ('startup', 'shutdown'):\n        await receive()\n"
    source += "        await send({'type': f'lifespan.{word}.complete'})\n"
    (tmp_path / "app.py").write_text(source)
    ran = subprocess.run(
        [sys.executable, "-m", "uvicorn", "app:app", "--check", "--port", "0", "--ssl-keyfile-password", "hunter2"],
        cwd=tmp_path,
        env=in_environment(UVICORN_HOST="localhost"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = {tuple(line.split(None, 2)) for line in ran.stdout.splitlines()}
    for row in (
        ("app", "app:app", "APP"),
        ("port", "0", "--port"),
        ("host", "localhost", "UVICORN_HOST"),
        ("root_path", "/a", "root_path in uvicorn.toml"),
        ("workers", "1", "default"),
        ("ssl_keyfile_password", "********", "--ssl-keyfile-password"),
    ):
        assert row in rows
    assert "hunter2" not in ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == "All is well."
    assert ran.stdout.splitlines()[-2].startswith("Lifespan: startup and shutdown pass")


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"], ["--reload"]], ids=str)
def test_a_misspelt_variable_is_told_once(tmp_path: Path, arguments: list[str]):
    (tmp_path / "app.py").write_text(HELLO)
    env = in_environment(UVICORN_ROOT_PTH="/a", UVICORN_OPTS="something else")
    warning = "Warning: UVICORN_ROOT_PTH: there is no such setting; did you mean UVICORN_ROOT_PATH?"
    with Running("app:app", "--port", "0", *arguments, cwd=tmp_path, env=env) as server:
        server.wait_for("Application startup complete", count=2 if "--workers" in arguments else 1)
        server.stop()
        assert [line for line in server.log.splitlines() if "UVICORN_" in line] == [warning]


@pytest.mark.parametrize("arguments", [["--workers", "2"], ["--reload"], ["--reload", "--workers", "2"]], ids=str)
def test_a_working_directory_that_is_gone_is_told_in_one_line(tmp_path: Path, arguments: list[str]):
    gone = tmp_path / "gone"
    gone.mkdir()
    ran = subprocess.run(
        ["sh", "-c", 'rmdir ../gone && exec "$0" "$@"', sys.executable, "-m", "uvicorn", "app:app", *arguments],
        cwd=gone,
        env=in_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    expected = "Error: the working directory is gone, in which the application is to be started\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "", expected)


def test_check_tells_a_misspelt_variable(tmp_path: Path):
    (tmp_path / "app.py").write_text(HELLO)
    ran = subprocess.run(
        [sys.executable, "-m", "uvicorn", "app:app", "--check", "--port", "0"],
        cwd=tmp_path,
        env=in_environment(UVICORN_ROOT_PTH="/a"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "\nWarning: UVICORN_ROOT_PTH: there is no such setting; did you mean UVICORN_ROOT_PATH?\n" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["app:nope"], "Application: FAILED"),
        (["app:app", "--fd", "0"], "Sockets: FAILED: fd 0 is not a listening socket"),
        (["app:fails"], "Lifespan: FAILED: at startup; the log says why"),
        (["app:app", "--ssl-certfile", "nope"], "Application: FAILED: ssl_certfile: cannot read 'nope'"),
    ],
)
def test_check_exits_with_3_where_a_start_would_fail(tmp_path: Path, arguments: list[str], line: str):
    (tmp_path / "app.py").write_text(
        HELLO + "async def fails(scope, receive, send):\n    await send({'type': 'lifespan.startup.failed'})\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "uvicorn", *arguments, "--check", "--port", str(free_port())],
        cwd=tmp_path,
        env=in_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 3, ran.stdout + ran.stderr
    assert any(found.startswith(line) for found in ran.stdout.splitlines()), ran.stdout
    assert ran.stdout.splitlines()[-1] == "It would not start."


# -- run() ------------------------------------------------------------------------------------------------------------


def script(tmp_path: Path, source: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "script.py").write_text(source)
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=in_environment(UVICORN_PORT="1", UVICORN_LOG_LEVEL="nonsense"),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_run_returns_after_the_maximum_of_requests_and_reads_no_variables_of_the_command(tmp_path: Path):
    port = free_port()
    ran = script(
        tmp_path,
        f"""
import threading, urllib.request, uvicorn

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({{"type": "http.response.start", "status": 200}})
    await send({{"type": "http.response.body", "body": b"hi"}})

class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        threading.Thread(target=lambda: urllib.request.urlopen("http://127.0.0.1:{port}/").read()).start()

import sys
sys.modules["uvicorn.main"].Server = Server
print(uvicorn.run(app, port={port}, limit_max_requests=1, lifespan="off"))
""",
    )
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, "None"), ran.stderr
    assert "Maximum request limit of 1 exceeded. Terminating process." in ran.stderr


@pytest.mark.parametrize(
    ("call", "code", "line"),
    [
        ("uvicorn.run('nope:app')", 3, 'ERROR:    Error loading ASGI app. Could not import module "nope".'),
        (
            "uvicorn.run(print, workers=2)",
            3,
            "WARNING:  You must pass the application as an import string to enable 'reload' or 'workers'.",
        ),
        ("uvicorn.run('a:b', log_level='loud')", 3, "Error: log_level: expected one of critical, error, warning,"),
        ("uvicorn.run('a:b', http2=True)", 2, "ERROR:    http2: HTTP/2 is not available yet"),
        ("uvicorn.run('os:getcwd', ssl_keyfile='k')", 3, "ERROR:    ssl_keyfile 'k' needs ssl_certfile"),
    ],
)
def test_run_exits_as_the_command_does(tmp_path: Path, call: str, code: int, line: str):
    ran = script(tmp_path, f"import uvicorn\n{call}\n")
    assert ran.returncode == code, ran.stderr
    assert ran.stderr.strip().splitlines()[-1].startswith(line), ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_app_directory_is_put_first_on_the_path(tmp_path: Path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/mine.py").write_text("raise SystemExit('imported from inner')")
    ran = script(tmp_path, "import uvicorn\nuvicorn.run('mine:app', app_dir='inner')\n")
    assert "imported from inner" in ran.stderr
