"""What becomes of each setting of gunicorn under our workers: honoured, done by gunicorn itself, or told about."""

from __future__ import annotations

import logging
import os
import pwd
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import free_port, is_alive
from tests.support.wire import Wire

from .caught import assert_nothing_lost
from .conftest import Start
from .helpers import HERE, get, get_json, pids, until, until_held_by

gunicorn_config = pytest.importorskip("gunicorn.config")
from uvicorn.workers import NOT_HONOURED, UvicornH11Worker, UvicornWorker  # noqa: E402

VERSION = "27.0.1"
"""Of gunicorn, whose settings these are."""

HERE_TOO: dict[str, tuple[Any, str, Any]] = {
    # setting: (a value, what it becomes in our Config, the value there)
    "asgi_lifespan": ("off", "lifespan", "off"),
    "asgi_loop": ("asyncio", "loop", "asyncio"),
    "backlog": (77, "backlog", 77),
    "forwarded_allow_ips": ("10.0.0.0/8", "forwarded_allow_ips", ["10.0.0.0/8"]),
    "graceful_timeout": (10, "timeout_graceful_shutdown", 8.0),
    "keepalive": (7, "timeout_keep_alive", 7),
    "limit_request_field_size": (200, "limit_request_field_size", 200),
    "limit_request_fields": (5, "limit_request_fields", 5),
    "limit_request_line": (300, "limit_request_line", 300),
    "max_requests": (40, "limit_max_requests", 40),
    "reload": (True, "timeout_graceful_shutdown", 2.0),
    "root_path": ("/api", "root_path", "/api"),
    "secure_scheme_headers": ({"X-FORWARDED-SSL": "on"}, "forwarded_headers", "x-forwarded-for"),
    "timeout": (12, "timeout_notify", 6.0),
    "websocket_max_message_size": (99, "ws_max_size", 99),
    "worker_connections": (50, "limit_concurrency", None),
}
SHOWN_ELSEWHERE = {
    # honoured by the worker; a test of tests/contrib with a real gunicorn each
    *("access_log_format", "accesslog", "errorlog", "logconfig_dict", "logger_class", "loglevel", "preload_app"),
    *("ca_certs", "cert_reqs", "certfile", "ciphers", "keyfile", "ssl_context", "ssl_version"),
    *("max_requests_jitter", "post_request", "pre_request", "statsd_host", "worker_abort", "worker_int"),
}
GUNICORNS_OWN = {
    # its master, its loggers and the base class of workers do it, whatever the worker class is
    *("bind", "chdir", "config", "daemon", "default_proc_name", "group", "initgroups", "paste", "pidfile", "proc_name"),
    *("pythonpath", "raw_env", "raw_paste_global_conf", "reload_engine", "reload_extra_files", "reuse_port", "spew"),
    *("umask", "user", "worker_class", "worker_tmp_dir", "workers", "wsgi_app", "check_config", "print_config"),
    *("capture_output", "disable_redirect_access_to_syslog", "dogstatsd_tags", "enable_backlog_metric"),
    *("enable_stdio_inheritance", "logconfig", "logconfig_json", "statsd_prefix", "syslog", "syslog_addr"),
    *("syslog_facility", "syslog_prefix", "control_socket", "control_socket_disable", "control_socket_mode"),
    *("child_exit", "nworkers_changed", "on_exit", "on_reload", "on_starting", "post_fork", "post_worker_init"),
    *("pre_exec", "pre_fork", "when_ready", "worker_exit"),
    *("dirty_apps", "dirty_graceful_timeout", "dirty_threads", "dirty_timeout", "dirty_workers"),
    *("dirty_post_fork", "dirty_worker_exit", "dirty_worker_init", "on_dirty_starting"),
}
GIVEN = {
    # values of those that are told about, each other than gunicorn's default
    "header_map": "refuse",
    "http2_cleartext": "upgrade",
    "http_parser": "python",
    "http_protocols": "h2,h1",
    "protocol": "uwsgi",
    "proxy_protocol": "v1",
    "forwarder_headers": "SCRIPT_NAME",
    "proxy_allow_ips": "10.0.0.1",
    "uwsgi_allow_ips": "10.0.0.1",
    "tmp_upload_dir": "/tmp",
}


@pytest.mark.parametrize("name", sorted(setting.name for setting in gunicorn_config.KNOWN_SETTINGS))
def test_every_setting_of_gunicorn_is_accounted_for(name: str):
    kinds = [kind for kind in (HERE_TOO, SHOWN_ELSEWHERE, GUNICORNS_OWN, NOT_HONOURED) if name in kind]
    installed = pytest.importorskip("gunicorn").__version__
    if not kinds and installed != VERSION:
        pytest.skip(f"gunicorn {installed} has a setting that {VERSION} did not have: {name}")
    assert len(kinds) == 1, f"{name} is in {len(kinds)} of the tables"


class Said(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def worker_of() -> Iterator[Callable[..., tuple[UvicornWorker, list[str]]]]:
    """Make a worker, as gunicorn's master does, of these settings; returns what was logged too."""
    names = ("gunicorn.error", "gunicorn.access")
    made: list[UvicornWorker] = []

    def make(worker_class: type[UvicornWorker] = UvicornWorker, **settings: Any) -> tuple[UvicornWorker, list[str]]:
        cfg = gunicorn_config.Config()
        for name, value in settings.items():
            cfg.set(name, value)
        log, said = cfg.logger_class(cfg), Said()
        log.error_log.addHandler(said)
        made.append(worker_class(1, os.getppid(), [], None, cfg.timeout / 2, cfg, log))
        return made[-1], said.lines

    yield make
    for worker in made:
        worker.tmp.close()
    for name in names:
        logging.getLogger(name).handlers = []


@pytest.mark.parametrize("name", sorted(HERE_TOO))
def test_a_setting_becomes_one_of_ours(worker_of: Callable[..., Any], name: str):
    given, ours, becomes = HERE_TOO[name]
    if name not in gunicorn_config.Config().settings:
        pytest.skip(f"this gunicorn has no {name}")
    worker, said = worker_of(**{name: given})
    if name == "worker_connections":
        ours, becomes = "limit_connections", given
    assert getattr(worker.config, ours) == becomes
    assert said == []


@pytest.mark.parametrize("name", sorted(NOT_HONOURED))
def test_a_setting_that_cannot_be_honoured_is_told_about_once(worker_of: Callable[..., Any], name: str):
    setting = gunicorn_config.Config().settings.get(name)
    if setting is None:
        pytest.skip(f"this gunicorn has no {name}")
    value = GIVEN.get(name, not setting.default if isinstance(setting.default, bool) else None)
    if value is None:
        value = (setting.default or 0) + 20_000 if name != "sendfile" else False
    worker, said = worker_of(**{name: value})
    assert len(said) == 1, said
    assert said[0].startswith(f"{name} = ")
    assert NOT_HONOURED[name] in said[0]
    again = type(worker)(2, os.getppid(), [], None, 15, worker.cfg, worker.log)
    again.tmp.close()
    assert len(said) == 1, said


def test_a_class_that_names_its_loop_keeps_it(worker_of: Callable[..., Any]):
    worker, _ = worker_of(UvicornH11Worker, asgi_loop="uvloop")
    assert worker.config.loop == "asyncio"


def test_no_limit_on_messages_is_no_limit(worker_of: Callable[..., Any]):
    assert worker_of(websocket_max_message_size=0)[0].config.ws_max_size is None


# -- under a real gunicorn --


def test_the_hooks_of_requests_are_called_with_what_they_ask_for(gunicorn: Start):
    server = gunicorn(
        settings="""\
def pre_request(worker, req):
    if req.path == "/refuse":
        raise ValueError("hook: no")
    print("hook: pre", worker.pid, req.method, req.uri, dict(req.headers)["X-ASKED"], flush=True)
def post_request(worker, req, environ, resp):
    print("hook: post", req.path, environ["REMOTE_ADDR"], resp.status_code, resp.response_length, flush=True)
    if req.path == "/late":
        raise ValueError("hook: late")
"""
    )
    asked = "X-Forwarded-For: 9.9.9.9\r\nX-Asked: 7\r\n"
    worker = int(get(server, "/a?b", headers=asked).body)
    server.wait_for(rf"^hook: pre {worker} GET /a\?b 7$")
    server.wait_for(rf"^hook: post /a 9\.9\.9\.9 200 {len(str(worker))}$")
    assert get(server, "/refuse", headers=asked).status == 500
    server.wait_for("ValueError: hook: no")
    server.wait_for(r"^hook: post /refuse 9\.9\.9\.9 500 0$")
    assert get(server, "/late", headers=asked).status == 200
    server.wait_for("Exception in post_request hook")


def test_a_hook_of_two_parameters_is_called_too(gunicorn: Start):
    server = gunicorn(settings='def post_request(worker, req):\n    print("hook: post", req.path, flush=True)\n')
    get(server, "/two")
    server.wait_for("^hook: post /two$")


def test_statsd_is_told_of_every_request(gunicorn: Start):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(15)
        server = gunicorn("--statsd-host", f"127.0.0.1:{statsd.getsockname()[1]}", "--statsd-prefix", "mine")
        get(server)
        said: list[str] = []
        while not any("mine.gunicorn.request.status.200" in one for one in said):
            said.append(statsd.recv(2000).decode())
        assert any("mine.gunicorn.requests:1" in one for one in said), said


def test_secure_scheme_headers_say_the_scheme_for_those_who_are_believed(gunicorn: Start):
    settings = "secure_scheme_headers = {'X-FORWARDED-SSL': 'on'}\n"
    server = gunicorn(settings=settings)
    headers = {"X-Forwarded-SSL: on": "https", "X-Forwarded-SSL: off": "http", "X-Forwarded-Proto: https": "http"}
    for header, scheme in headers.items():
        assert get_json(server, "/scope", headers=f"{header}\r\n")["scheme"] == scheme, header
    seen = get_json(server, "/scope", headers="X-Forwarded-SSL: on\r\nX-Forwarded-For: 9.9.9.9\r\n")
    assert (seen["scheme"], seen["client"]) == ("https", ["9.9.9.9", 0])
    wary = gunicorn("--forwarded-allow-ips", "10.0.0.1", settings=settings)
    assert get_json(wary, "/scope", headers="X-Forwarded-SSL: on\r\n")["scheme"] == "http"


def test_the_asgi_settings_are_honoured(gunicorn: Start, tmp_path: Path):
    source = (HERE / "app.py").read_text().replace('elif path == "/environ":', LOOP)
    (tmp_path / "app.py").write_text(source)
    options = ["--asgi-loop", "asyncio", "--asgi-lifespan", "off", "--root-path", "/api"]
    server = gunicorn(*options, ready=None)
    pids(server, 1)
    assert b"asyncio" in get(server, "/loop").body
    assert get_json(server, "/scope")["root_path"] == "/api"
    assert "lifespan started" not in server.log


LOOP = """\
elif path == "/loop":
        body = type(asyncio.get_running_loop()).__module__.encode()
    elif path == "/environ":"""


def test_worker_connections_is_a_limit_where_given(gunicorn: Start):
    server = gunicorn("--worker-connections", 2)
    with Wire.connect(server) as one, Wire.connect(server) as two:
        for wire in (one, two):
            assert wire.request(b"GET /fds HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
        # The third takes the place of the one that is idle for longest.
        assert get(server).status == 200
        assert one.is_closed() == "eof"


def test_clients_without_a_certificate_are_refused_where_one_is_asked_for(gunicorn: Start, certificates: Any):
    options = ["--keyfile", certificates.key, "--certfile", certificates.certificate]
    options += ["--ca-certs", certificates.authority, "--cert-reqs", 2, "--ciphers", "ECDHE+AESGCM"]
    server = gunicorn(*options)
    assert get(server, tls=certificates.context(client=True)).status == 200
    with pytest.raises((OSError, AssertionError)):
        get(server, tls=certificates.context())


def test_what_gunicorn_itself_does_for_its_workers_is_done(gunicorn: Start, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "app.py").write_text(REPORT)
    user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    if user == "nobody":
        for folder in (tmp_path, *tmp_path.parents):
            if not folder.stat().st_mode & 0o001:
                user = "root"  # the scratch folder lies where nobody else may go
    settings = f"""\
chdir = {str(tmp_path / "elsewhere")!r}
user = {user!r}
proc_name = "mine"
raw_env = ["FROM_GUNICORN=yes"]
pidfile = {str(tmp_path / "pid")!r}
worker_tmp_dir = "/dev/shm"
reuse_port = True
syslog = False
capture_output = True
"""
    server = gunicorn(settings=settings, ready=None)
    pids(server, 1)
    seen = get_json(server, "/report")
    assert seen["cwd"] == str(tmp_path / "elsewhere")
    assert seen["user"] == user
    assert seen["env"] == "yes"
    assert seen["reuse_port"] == 1
    assert int((tmp_path / "pid").read_text()) == server.pid
    if pytest.importorskip("setproctitle"):
        assert "[mine]" in seen["title"]


REPORT = """\
import json, os, pwd, socket

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only HTTP")
    shared = 0
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            with socket.socket(fileno=os.dup(fd)) as sock:
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    shared = sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        except OSError:
            pass
    body = str(os.getpid())
    if scope["path"] == "/report":
        body = json.dumps({
            "cwd": os.getcwd(), "user": pwd.getpwuid(os.getuid()).pw_name, "reuse_port": shared,
            "env": os.environ.get("FROM_GUNICORN"), "title": open("/proc/self/cmdline").read(),
        })
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body.encode()})
"""


def test_ttin_and_ttou_make_and_end_workers(gunicorn: Start, tmp_path: Path):
    server = gunicorn()
    server.signal(signal.SIGTTIN)
    assert len(pids(server, 2)) == 2
    server.signal(signal.SIGTTOU)
    until(lambda: len(server.descendants()) == 1, "one worker is left", log=lambda: server.log)
    assert get(server).status == 200


def test_usr2_and_term_change_the_master_without_a_loss(gunicorn: Start, tmp_path: Path):
    server = gunicorn("--pid", tmp_path / "pid", "--keep-alive", 30, workers=2)
    before = pids(server, 2)

    def change() -> None:
        server.signal(signal.SIGUSR2)
        server.wait_for("Application startup complete", count=4)
        server.signal(signal.SIGTERM)

    assert_nothing_lost(
        server,
        tmp_path,
        change,
        leaving=lambda: server.log.count("Shutting down"),
        moments=2,
        settled=lambda: pids(server, 2, without=before),
        log=lambda: server.log,
    )
    assert server.wait() == 0
    successor = until(
        lambda: pid_in(tmp_path / "pid"), "the new master takes the pid file over", log=lambda: server.log
    )
    os.kill(successor, signal.SIGTERM)
    until(lambda: not server.descendants(), "the new master ends", log=lambda: server.log)


def test_usr2_winch_and_quit_change_the_master_without_a_loss(gunicorn: Start, tmp_path: Path):
    """gunicorn's documented way, which it takes only as a daemon."""
    log, file, port = tmp_path / "error.log", tmp_path / "pid", free_port()
    options = ["--bind", f"127.0.0.1:{port}", "--pid", file, "--error-logfile", log, "--keep-alive", 30, "--daemon"]
    masters: set[int] = set()
    try:
        assert gunicorn(*options, workers=2, ready=None).wait() == 0
        old = until(lambda: pid_in(file), "the pid file", log=log.read_text)
        masters.add(old)
        before = pids(port, 2)

        def change() -> None:
            os.kill(old, signal.SIGUSR2)
            started = "Application startup complete"
            until(lambda: log.read_text().count(started) >= 4, "the new workers are up", log=log.read_text)
            masters.add(until(lambda: pid_in(tmp_path / "pid.2"), "the second pid file", log=log.read_text))
            os.kill(old, signal.SIGWINCH)

        assert_nothing_lost(
            port,
            tmp_path,
            change,
            leaving=lambda: log.read_text().count("Shutting down\n"),
            moments=2,
            settled=lambda: pids(port, 2, without=before),
            log=log.read_text,
        )
        until(lambda: not any(map(is_alive, before)), "the old workers end", log=log.read_text)
        os.kill(old, signal.SIGQUIT)
        until(lambda: not is_alive(old), "the old master ends", log=log.read_text)
        until(lambda: pid_in(file) in masters - {old}, "the new master takes the pid file over", log=log.read_text)
        os.kill(*masters - {old}, signal.SIGTERM)
        until_held_by(port, set(), log.read_text)
    finally:
        for pid in filter(is_alive, masters):
            os.kill(pid, signal.SIGKILL)  # its workers notice


def pid_in(file: Path) -> int | None:
    return int(file.read_text() or 0) or None if file.exists() else None
