"""The shipped nginx configuration in front of the server: what the application sees, and what gets lost (nothing)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.load import LoadClient
from tests.support.processes import Running, free_port
from tests.support.wire import Wire
from uvicorn.config import Config
from uvicorn.ctl import Values, render

from .caught import LAST, assert_nothing_lost, held
from .helpers import HERE, get, get_json, holders, pids, program, until, until_held_by

AROUND = """\
daemon off;
worker_processes 2;
{user}
pid {here}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    include {here}/web.conf;
}}
"""


class Behind:
    def __init__(self, nginx: Running, server: Running, port: int, plain_port: int, here: Path) -> None:
        self.nginx, self.server, self.port, self.plain_port, self.here = nginx, server, port, plain_port, here
        self.socket = here / "web.sock"

    def is_502(self) -> bool:
        return get(self.port).status == 502

    def reload_nginx(self) -> None:
        """Returns when the old processes of nginx take nothing new any more."""
        before = set(self.nginx.descendants())
        self.nginx.signal(signal.SIGHUP)
        until(lambda: set(self.nginx.descendants()) - before, "new processes of nginx", log=lambda: self.nginx.log)
        until(lambda: not before & holders(self.port), "the old ones let go", log=lambda: self.nginx.log)


@pytest.fixture
def behind(tmp_path: Path, uvicorn: Any, certificates: Any) -> Iterator[Callable[..., Behind]]:
    """Start a server and nginx in front of it, on the shipped file as `uvicornctl init nginx` fills it in."""
    nginx = program("nginx")
    with ExitStack() as stack:

        def start(*options: str, variant: str = "unix", workers: int = 2, change: Any = str) -> Behind:
            port = free_port()
            ((_, text),) = render("nginx", variant, Values(run=str(tmp_path), domain="localhost")).items()
            # Only ports and files are others than shipped.
            ports = {"80": port} if variant == "unix" else {"80": free_port(), "443 ssl": port}
            for shipped, mine in ports.items():
                assert f"    listen {shipped};\n" in text
                words = shipped.partition(" ")
                text = text.replace(f"    listen {shipped};\n", f"    listen 127.0.0.1:{mine}{words[1]}{words[2]};\n")
            text = text.replace("/etc/letsencrypt/live/localhost/fullchain.pem", str(certificates.certificate))
            text = text.replace("/etc/letsencrypt/live/localhost/privkey.pem", str(certificates.key))
            text = text.replace("/var/www/html", str(tmp_path))
            (tmp_path / "web.conf").write_text(change(text))
            user = "user root;" if os.getuid() == 0 else ""
            (tmp_path / "nginx.conf").write_text(AROUND.format(here=tmp_path, user=user))
            server = uvicorn(
                *options_of(tmp_path), "--workers", workers, *options, app=(HERE / "app.py").read_text(), ready=None
            )
            server.wait_for("Application startup complete", count=workers)
            server.wait_for("Uvicorn running on")
            front = Running(command=[nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")], cwd=tmp_path)
            stack.enter_context(front)
            until(lambda: is_listening(port), "nginx listens", log=lambda: front.log)
            return Behind(front, server, port, ports["80"], tmp_path)

        yield start


def options_of(here: Path) -> list[str]:
    """What the shipped file's comment asks to start the server with."""
    return ["--uds", str(here / "web.sock"), "--uds-mode", "660", "--forwarded-allow-ips", "unix:"]


def is_listening(port: int) -> bool:
    try:
        Wire.connect(port).close()
    except OSError:
        return False
    return True


FORGED = """\
X-Forwarded-For: 6.6.6.6\r
X-Forwarded-Proto: gopher\r
X-Forwarded-Host: evil\r
X-Forwarded-Port: 6\r
Forwarded: for=6.6.6.6;proto=gopher;host=evil\r
X-Real-IP: 6.6.6.6\r
"""


@pytest.mark.parametrize(("variant", "scheme"), [("unix", "http"), ("tls", "https")])
def test_the_application_sees_client_scheme_and_host_and_nothing_forged(
    behind: Callable[..., Behind], certificates: Any, variant: str, scheme: str
):
    # Also where an application believes more headers than by default: nginx throws away what a client writes.
    more = ["--forwarded-headers", "x-forwarded-for,x-forwarded-proto,x-forwarded-host"]
    web = behind(*more, variant=variant)
    tls = certificates.context() if variant == "tls" else None
    seen = get_json(web.port, "/scope", headers=FORGED, tls=tls)
    assert seen["client"] == ["127.0.0.1", 0]
    assert seen["scheme"] == scheme
    assert seen["host"] == "localhost"
    assert seen["http_version"] == "1.1"
    with Wire.connect(web.port, tls=tls) as wire:
        answer = wire.request(b"GET /scope HTTP/1.1\r\nHost: localhost:8443\r\n\r\n")
    assert json.loads(answer.body)["host"] == "localhost:8443"


def test_both_workers_answer_and_a_killed_one_is_replaced(behind: Callable[..., Behind]):
    web = behind()
    # More at once each time: nginx keeps the connections it has to us, and each stays with the worker that took it.
    seen: set[bytes] = set()
    for count in range(8, 88, 8):
        with ExitStack() as stack:
            wires = [stack.enter_context(Wire.connect(web.port, timeout=30)) for _ in range(count)]
            for wire in wires:
                wire.send(b"GET /sleep?0.3 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            seen |= {wire.read_response().body for wire in wires}
        if len(seen) == 2:
            break
    victim, other = map(int, seen)
    os.kill(victim, signal.SIGKILL)
    assert other in pids(web.socket, 2, without={victim})
    until(lambda: get(web.port).status == 200, "nginx has left the dead one's connections", log=lambda: web.nginx.log)


def test_plain_http_is_sent_to_https(behind: Callable[..., Behind]):
    moved = get(behind(variant="tls", workers=1).plain_port, "/a?b=c")
    assert (moved.status, moved.get("location")) == (301, b"https://localhost/a?b=c")


@pytest.mark.parametrize("variant", ["unix", "tls"])
def test_the_challenges_for_a_certificate_are_answered(behind: Callable[..., Behind], variant: str):
    web = behind(variant=variant, workers=1)
    challenge = web.here / ".well-known" / "acme-challenge"
    challenge.mkdir(parents=True)
    (challenge / "token").write_text("secret")
    assert get(web.plain_port, "/.well-known/acme-challenge/token").body == b"secret"


@pytest.mark.parametrize(("variant", "scheme"), [("unix", "ws"), ("tls", "wss")])
def test_a_websocket_goes_through(behind: Callable[..., Behind], certificates: Any, variant: str, scheme: str):
    client = pytest.importorskip("websockets.sync.client")
    web = behind(variant=variant, workers=1)
    tls = certificates.context() if variant == "tls" else None
    with client.connect(f"{scheme}://localhost:{web.port}/", ssl=tls, open_timeout=60) as socket:
        socket.send("hello")
        assert socket.recv(timeout=60) == f"hello from {scheme}"


def test_an_upload_of_64_mib_goes_through_whole(behind: Callable[..., Behind]):
    web = behind(workers=1)
    size = 64 * 1024 * 1024
    with Wire.connect(web.port, timeout=60) as wire:
        wire.send(f"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(64):
            wire.send(b"x" * (1024 * 1024))
        assert wire.read_response("POST").body == str(size).encode()


def test_a_stream_arrives_as_it_is_sent(behind: Callable[..., Behind]):
    web = behind(workers=1)
    with held(web.port) as wire:  # its first part has come; the second is not even written
        (web.here / "gate").touch()
        assert b"let go" in wire.read_until_close()


def test_reloads_of_ours_under_load_lose_nothing(behind: Callable[..., Behind]):
    web = behind()
    before = pids(web.socket, 2)

    def settled() -> None:
        pids(web.socket, 2, without=before)
        web.server.wait_for("Reloaded: ")

    assert_nothing_lost(
        web.port,
        web.here,
        lambda: web.server.signal(signal.SIGHUP),
        leaving=lambda: web.server.log.count("Shutting down"),
        moments=2,
        settled=settled,
        log=lambda: web.server.log,
    )


def test_a_reload_of_nginx_under_load_loses_nothing(behind: Callable[..., Behind]):
    """What nginx was asked for: idle connections of clients it closes itself when it reloads."""
    web = behind()
    post = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
    with ExitStack() as stack:
        load = stack.enter_context(
            LoadClient(web.port, connections=4, request=post, method="POST", keep_alive=False, timeout=60)
        )
        load.wait_for_answers(10)
        wires = [stack.enter_context(held(web.port)) for _ in range(4)]
        web.reload_nginx()
        load.wait_for_answers(20)
        (web.here / "gate").touch()
        assert [wire.read_until_close().endswith(LAST) for wire in wires] == [True] * 4
        report = load.stop()
    assert report.failures == 0, str(report)
    print(f"0 lost: 4 in flight; load: {report}")


def test_nginx_gives_an_idle_connection_up_before_we_do(behind: Callable[..., Behind]):
    """The other way round, the POST that it sends in the moment in which we close would be a 502."""
    ((_, text),) = render("nginx", "unix", Values()).items()
    shipped = re.search(r"keepalive_timeout (\d+)s;", text)
    assert shipped
    assert int(shipped[1]) < Config("app:app", log_config=None).timeout_keep_alive
    # The same order with shorter times, and a POST about when nginx closes and when we would.
    web = behind("--timeout-keep-alive", "2", workers=1, change=lambda text: text.replace(shipped[0], SHORT))
    with Wire.connect(web.port, timeout=60) as wire:
        for pause in (0.9, 1.0, 1.1, 2.0):
            time.sleep(pause)
            assert wire.request(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "POST").status == 200


SHORT = "keepalive_timeout 1s;"


def test_a_server_that_is_away_is_found_the_moment_it_is_back(behind: Callable[..., Behind], uvicorn: Any):
    web = behind()
    assert holders(web.socket)
    assert web.server.stop() == 0
    assert not web.socket.exists()
    until_held_by(web.socket, set())
    assert web.is_502()
    failing = uvicorn("app:app", *options_of(web.here), "--workers", 2, env={"BROKEN": "lifespan"}, ready=None)
    assert failing.wait() == 3
    assert web.is_502()
    back = uvicorn("app:app", *options_of(web.here), "--workers", 2, ready=None)
    back.wait_for("Application startup complete", count=2)
    assert get(web.port).status == 200


def test_a_killed_master_leaves_nobody_on_the_socket(behind: Callable[..., Behind], uvicorn: Any):
    web = behind()
    assert holders(web.socket)
    web.server.signal(signal.SIGKILL)
    web.server.process.wait()
    until_held_by(web.socket, set())
    assert web.is_502()
    uvicorn("app:app", *options_of(web.here))  # over the file that the dead one has left
    assert get(web.port).status == 200


@pytest.mark.parametrize("variant", ["unix", "tls"])
def test_the_shipped_file_passes_nginxs_own_check(behind: Callable[..., Behind], variant: str):
    web = behind(variant=variant, workers=1)
    done = subprocess.run(
        [program("nginx"), "-t", "-p", str(web.here), "-c", str(web.here / "nginx.conf")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr
