"""The worker classes under the real gunicorn: a test for each setting and each signal that reaches a worker."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.load import LoadClient
from tests.support.processes import Running, is_alive
from tests.support.wire import Wire, WireError

from .caught import LAST, Caught, assert_nothing_lost, held
from .conftest import Start
from .helpers import HERE, get, get_json, pids, program, until, until_held_by

pytest.importorskip("gunicorn")


def ask(path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


# -- serving --


def test_two_workers_serve_and_a_killed_one_is_replaced(gunicorn: Start):
    server = gunicorn(workers=2)
    before = pids(server, 2)
    os.kill(min(before), signal.SIGKILL)
    assert len(pids(server, 2, without={min(before)})) == 2


def test_the_h11_worker_serves_on_asyncio(gunicorn: Start):
    (server := gunicorn(worker="uvicorn.workers.UvicornH11Worker"))
    assert get(server).status == 200


def test_the_package_uvicorn_worker_works_with_this_server(gunicorn: Start):
    pytest.importorskip("uvicorn_worker")
    server = gunicorn(worker="uvicorn_worker.UvicornWorker", workers=2)
    pids(server, 2)
    assert server.stop() == 0


def test_importing_the_workers_warns_of_nothing():
    code = "import uvicorn.workers as w; print(w.UvicornWorker.CONFIG_KWARGS, w.UvicornH11Worker.CONFIG_KWARGS)"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.stdout.split("} ")[0] == "{'loop': 'auto', 'http': 'auto'", ran.stderr
    assert "'h11'" in ran.stdout


def test_a_unix_socket_serves_and_is_removed_at_the_end(gunicorn: Start, tmp_path: Path):
    path = tmp_path / "web.sock"
    server = gunicorn("--bind", f"unix:{path}")
    assert get(str(path)).status == 200
    assert get_json(str(path), "/scope")["client"] is None
    server.stop()
    assert not path.exists()


def test_an_inherited_socket_is_served_and_kept(gunicorn: Start):
    with socket.create_server(("127.0.0.1", 0)) as kept:
        server = gunicorn("--bind", f"fd://{kept.fileno()}", workers=2, pass_fds=(kept.fileno(),))
        assert len(pids(kept.getsockname(), 2)) == 2
        assert get_json(kept.getsockname(), "/scope")["server"] == list(kept.getsockname())
        assert server.stop() == 0
        until_held_by(kept.getsockname(), {os.getpid()})


# -- settings --


def test_keepalive_is_how_long_an_idle_connection_stays(gunicorn: Start):
    server = gunicorn("--keep-alive", 1)
    with Wire.connect(server) as wire:
        wire.request(ask())
        assert wire.is_closed() == "eof"


def test_a_worker_that_hangs_is_killed_at_timeout_and_shows_where_it_hung(gunicorn: Start):
    server = gunicorn("--timeout", 2, settings="def worker_abort(worker):\n    worker.log.info('hook: abort')\n")
    victim = int(get(server).body)
    with Wire.connect(server) as wire:
        wire.send(ask("/hang?60"))
        server.wait_for("WORKER TIMEOUT")
        server.wait_for(r"Fatal Python error: Aborted")
        server.wait_for(r'app\.py", line \d+ in request')
        assert pids(server, 1, without={victim})


def test_a_drain_longer_than_timeout_is_not_punished(gunicorn: Start, tmp_path: Path):
    server = gunicorn("--timeout", 1, "--graceful-timeout", 60)
    with held(server) as wire:
        server.signal(signal.SIGTERM)
        server.wait_for("Waiting for connections to close")
        time.sleep(3)  # three times as long as a loop that stands still would live
        (tmp_path / "gate").touch()
        assert wire.read_until_close().endswith(LAST)
    assert server.wait() == 0
    assert "WORKER TIMEOUT" not in server.log


def test_a_lifespan_that_waits_longer_than_timeout_is_not_punished(gunicorn: Start):
    server = gunicorn("--timeout", 1, env={"STARTUP": "3"})
    assert get(server).status == 200
    assert "WORKER TIMEOUT" not in server.log


def test_graceful_timeout_cuts_what_still_runs_and_the_lifespan_ends(gunicorn: Start):
    server = gunicorn("--graceful-timeout", 3)
    with held(server):
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert "lifespan ended" in server.log


def test_max_requests_replaces_a_worker_and_loses_no_request(gunicorn: Start):
    server = gunicorn("--max-requests", 40, "--max-requests-jitter", 10, workers=2)
    first = pids(server, 2)
    with LoadClient(server, connections=4) as load:
        pids(server, 2, without=first)
        report = load.stop()
    assert report.failures == 0, str(report)
    assert "Maximum request limit of" in server.log


def test_forwarded_allow_ips_says_whose_headers_are_believed(gunicorn: Start):
    forwarded = "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n"
    trusting = get_json(gunicorn("--forwarded-allow-ips", "127.0.0.1"), "/scope", headers=forwarded)
    assert (trusting["client"], trusting["scheme"]) == (["9.9.9.9", 0], "https")
    wary = get_json(gunicorn("--forwarded-allow-ips", "10.0.0.1"), "/scope", headers=forwarded)
    assert (wary["client"][0], wary["scheme"]) == ("127.0.0.1", "http")


def test_the_limits_of_requests_are_those_given(gunicorn: Start):
    server = gunicorn(
        "--limit-request-line", 100, "--limit-request-fields", 5, "--limit-request-field_size", 200, workers=1
    )
    assert get(server, "/" + "a" * 200).status == 414
    assert get(server, headers="A: b\r\n" * 6).status == 431
    assert get(server, headers=f"A: {'b' * 300}\r\n").status == 431
    assert get(server).status == 200


def test_limits_that_nobody_gave_are_ours(gunicorn: Start):
    assert get(gunicorn(), headers=f"Cookie: {'b' * 12_000}\r\n").status == 200


def test_tls_with_the_files_and_with_the_hook(gunicorn: Start, certificates: Any):
    options = ["--keyfile", certificates.key, "--certfile", certificates.certificate]
    hook = """\
def ssl_context(conf, default_ssl_context_factory):
    context = default_ssl_context_factory()
    print("hook: context", conf.certfile, flush=True)
    return context
"""
    server = gunicorn(*options, settings=hook)
    assert get_json(server, "/scope", tls=certificates.context())["scheme"] == "https"
    assert f"hook: context {certificates.certificate}" in server.log


def test_the_backlog_is_gunicorns(gunicorn: Start):
    server = gunicorn("--backlog", 77)
    get(server)
    listed = subprocess.run([program("ss"), "-ltnH", f"sport = :{server.port}"], capture_output=True, text=True)
    assert listed.stdout.split()[2] == "77"


def test_without_an_access_log_nothing_is_logged_of_requests(gunicorn: Start):
    server = gunicorn()
    get(server, "/silent")
    server.stop()
    assert "/silent" not in server.log


def test_the_access_log_has_our_line_by_default(gunicorn: Start):
    server = gunicorn("--access-logfile", "-")
    get(server, "/?a=b", headers="X-Forwarded-For: 9.9.9.9\r\n")
    server.wait_for(r'^9\.9\.9\.9:0 - "GET /\?a=b HTTP/1\.1" 200')


def test_a_format_of_ones_own_is_gunicorns_with_all_its_atoms(gunicorn: Start):
    form = (
        'at=%(h)s line="%(r)s" status=%(s)s sent=%(B)s agent="%(a)s" x=%({x-asked}i)s y=%({content-length}o)s us=%(D)s'
    )
    server = gunicorn("--access-logfile", "-", "--access-logformat", form)
    get(server, "/?q", headers="X-Forwarded-For: 9.9.9.9\r\nUser-Agent: me\r\nX-Asked: 7\r\n")
    line = server.wait_for(
        r'^at=9\.9\.9\.9 line="GET /\?q HTTP/1\.1" status=200 sent=(\d+) agent="me" x=7 y=\1 us=\d+$'
    )
    assert int(line[1]) > 0
    get(server, "/fail")
    server.wait_for(r'^at=127\.0\.0\.1 line="GET /fail HTTP/1\.1" status=500')


def test_a_logger_class_of_ones_own_gets_every_request(gunicorn: Start):
    settings = """\
from gunicorn.glogging import Logger
accesslog = "-"
class Mine(Logger):
    def access(self, resp, req, environ, request_time):
        self.access_log.info("mine %s %s %s", environ["RAW_URI"], resp.status, request_time.total_seconds() < 5)
logger_class = Mine
"""
    server = gunicorn(settings=settings)
    get(server, "/hello")
    server.wait_for("mine /hello 200 True")


def test_our_lines_come_in_gunicorns_form_at_its_level(gunicorn: Start, tmp_path: Path):
    log = tmp_path / "error.log"
    server = gunicorn("--error-logfile", log, "--log-level", "warning", ready=None)
    pids(server, 1)
    get(server, "/fail")
    until(lambda: "Exception in ASGI application" in log.read_text(), "the error is logged")
    assert "Started server process" not in log.read_text()


def test_loggers_that_logconfig_names_are_left_alone(gunicorn: Start, tmp_path: Path):
    log = tmp_path / "ours.log"
    settings = f"""\
logconfig_dict = {{
    "version": 1,
    "disable_existing_loggers": False,
    "root": {{"handlers": ["ours"], "level": "INFO"}},
    "handlers": {{"ours": {{"class": "logging.FileHandler", "filename": {str(log)!r}}}}},
    "loggers": {{"uvicorn.error": {{"handlers": ["ours"], "level": "INFO"}}}},
}}
"""
    server = gunicorn(settings=settings, ready=None)
    pids(server, 1)
    until(lambda: log.exists() and "Application startup complete" in log.read_text(), "our line is in the named file")


def test_usr1_reopens_the_log_files(gunicorn: Start, tmp_path: Path):
    log, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    server = gunicorn("--access-logfile", log)
    worker = int(get(server, "/first").body)
    until(lambda: "/first" in log.read_text(), "the first line")
    log.rename(moved)
    server.signal(signal.SIGUSR1)
    until(log.exists, "a new file")
    with Wire.connect(server) as wire:

        def written() -> bool:
            wire.request(ask("/second"))
            return "/second" in log.read_text()

        until(written, "lines in the new file")
    assert int(get(server).body) == worker


def test_preload_imports_the_app_once_in_the_master(gunicorn: Start, tmp_path: Path):
    source = (HERE / "app.py").read_text() + "\nprint(f'imported by {os.getpid()}', flush=True)\n"
    (tmp_path / "app.py").write_text(source)
    server = gunicorn("--preload", workers=2)
    pids(server, 2)
    assert server.log.count("imported by") == 1
    assert f"imported by {server.pid}" in server.log


def test_reload_serves_the_changed_code(gunicorn: Start, tmp_path: Path):
    server = gunicorn("--reload", "--reload-engine", "poll")
    assert get(server).body.isdigit()
    (tmp_path / "app.py").write_text((HERE / "app.py").read_text().replace("str(os.getpid())", "'changed'"))
    until(lambda: answer(server) == b"changed", "the new code answers")


def answer(server: Running) -> bytes:
    try:
        return get(server).body
    except (OSError, WireError):  # between the one worker and the next
        return b""


# -- subclasses --


SUBCLASS = """\
from uvicorn.workers import UvicornWorker

class Mine(UvicornWorker):
    CONFIG_KWARGS = {"root_path": "/class", "headers": [("x-from", "class")]}

    def __init__(self, *args, **kwargs):
        self.CONFIG_KWARGS = {**self.CONFIG_KWARGS, "headers": [("x-from", "instance")]}
        super().__init__(*args, **kwargs)

    def init_process(self):
        self.config.forwarded_allow_ips = "*"
        super().init_process()

    def _install_sigint_handler(self):
        import asyncio, signal
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self.handle_exit, signal.SIGINT, None)

    async def _serve(self):
        self._install_sigint_handler()
        print("hook: serve", flush=True)
        await super()._serve()

    def handle_exit(self, sig, frame):
        print("hook: exit", int(sig), flush=True)
        super().handle_exit(sig, frame)
"""


def test_a_subclass_has_the_hooks_that_others_use(gunicorn: Start, tmp_path: Path):
    (tmp_path / "mine.py").write_text(SUBCLASS)
    server = gunicorn("--forwarded-allow-ips", "10.0.0.1", worker="mine.Mine")
    answer = get(server, "/scope", headers="X-Forwarded-For: 9.9.9.9\r\n")
    assert answer.get("x-from") == b"instance"
    assert json.loads(answer.body)["root_path"] == "/class"
    assert json.loads(answer.body)["client"] == ["9.9.9.9", 0]
    assert "hook: serve" in server.log
    server.signal(signal.SIGQUIT)
    assert server.wait() == 0
    assert f"hook: exit {int(signal.SIGQUIT)}" in server.log


def test_a_subclass_trusts_a_proxy_on_a_unix_socket_which_gunicorn_has_no_word_for(gunicorn: Start, tmp_path: Path):
    page = (HERE.parents[1] / "docs" / "deployment.md").read_text()
    example = page[page.index("    from uvicorn.workers import") : page.index("A reload of gunicorn")]
    (tmp_path / "mine.py").write_text(textwrap.dedent(example))
    path = tmp_path / "web.sock"
    gunicorn("--bind", f"unix:{path}", worker="mine.Worker")
    assert get_json(str(path), "/scope", headers="X-Forwarded-For: 9.9.9.9\r\n")["client"] == ["9.9.9.9", 0]
    refused = gunicorn("--forwarded-allow-ips", "unix:", ready=None)
    assert refused.wait() != 0


# -- signals --


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["INT", "QUIT"])
def test_int_and_quit_to_the_master_end_at_once_with_the_lifespan(gunicorn: Start, number: int):
    server = gunicorn("--graceful-timeout", 600, settings="def worker_int(worker):\n    worker.log.info('hook: int')\n")
    with held(server):
        server.signal(number)
        assert server.wait() == 0  # graceful_timeout is not waited for
    assert "lifespan ended" in server.log
    assert "hook: int" in server.log


def test_ctrl_c_reaches_everybody_and_ends_in_order(gunicorn: Start):
    server = gunicorn(workers=2)
    os.killpg(server.pid, signal.SIGINT)
    assert server.wait() == 0
    assert server.log.count("lifespan ended") == 2


def test_term_finishes_requests_and_leaves_quietly(gunicorn: Start, tmp_path: Path):
    server = gunicorn(workers=2)
    with held(server) as wire:
        server.signal(signal.SIGTERM)
        server.wait_for("Shutting down", count=2)
        (tmp_path / "gate").touch()
        assert wire.read_until_close().endswith(LAST)
    assert server.wait() == 0
    assert server.log.count("lifespan ended") == 2
    for complaint in ("was sent SIGTERM", "Error while closing socket", "Traceback"):
        assert complaint not in server.log


def test_term_to_the_whole_group_is_as_quiet(gunicorn: Start):
    server = gunicorn(workers=2)
    os.killpg(server.pid, signal.SIGTERM)
    assert server.wait(timeout=25) == 0
    assert server.log.count("lifespan ended") == 2
    assert "was sent SIGTERM" not in server.log


def test_a_request_that_comes_just_after_term_is_answered(gunicorn: Start, tmp_path: Path):
    """The connection was accepted before the signal; its request is on its way."""
    server = gunicorn()
    with Caught(server, tmp_path) as caught:
        server.signal(signal.SIGTERM)
        server.wait_for("Shutting down")
        caught.go_on()
    assert server.wait() == 0


def test_hup_serves_the_new_code_and_loses_no_request(gunicorn: Start, tmp_path: Path):
    source = tmp_path / "app.py"
    server = gunicorn("--keep-alive", 30, workers=2)
    first = pids(server, 2)

    def change() -> None:
        source.write_text(source.read_text().replace("failed on purpose", "failed in the new code"))
        server.signal(signal.SIGHUP)

    assert_nothing_lost(
        server,
        tmp_path,
        change,
        leaving=lambda: server.log.count("Shutting down"),
        moments=2,
        settled=lambda: pids(server, 2, without=first),
        log=lambda: server.log,
    )
    get(server, "/fail")
    server.wait_for("RuntimeError: failed in the new code")
    until(lambda: not any(is_alive(pid) for pid in first), "the old workers end", log=lambda: server.log)
    assert server.stop() == 0
    until_held_by(server, set())


def test_hup_to_a_worker_does_not_end_it(gunicorn: Start):
    server = gunicorn()
    worker = int(get(server).body)
    os.kill(worker, signal.SIGHUP)
    assert int(get(server).body) == worker


def test_workers_leave_the_socket_when_the_master_is_killed(gunicorn: Start):
    server = gunicorn(workers=2)
    workers = pids(server, 2)
    server.signal(signal.SIGKILL)
    server.process.wait()
    until(lambda: not any(is_alive(pid) for pid in workers), "the workers end", log=lambda: server.log)
    until_held_by(server, set())
    with pytest.raises(OSError, match="refused"):
        get(server)


def test_an_app_that_cannot_start_ends_everything_with_3(gunicorn: Start):
    server = gunicorn(env={"BROKEN": "lifespan"}, ready=None)
    assert server.wait() == 3
    assert "broken on purpose" in server.log
