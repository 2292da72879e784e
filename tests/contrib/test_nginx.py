"""The shipped nginx configuration in front of the server: what the application sees, and what gets lost (nothing)."""

from __future__ import annotations

import json
import os
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
from uvicorn.ctl import Values, render

from .helpers import HERE, get, get_json, pids, program, until

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
    def __init__(self, nginx: Running, server: Running, port: int, here: Path) -> None:
        self.nginx, self.server, self.port, self.here = nginx, server, port, here

    def reload_nginx(self) -> None:
        self.nginx.signal(signal.SIGHUP)


@pytest.fixture
def behind(tmp_path: Path, uvicorn: Any, certificates: Any) -> Iterator[Callable[..., Behind]]:
    nginx = program("nginx")
    with ExitStack() as stack:

        def start(*options: str, workers: int = 2, tls: bool = False) -> Behind:
            port = free_port()
            (text,) = render("nginx", "unix", Values(run=str(tmp_path))).values()
            # The port, and for TLS the lines that the file itself gives in its comment.
            listen = f"listen 127.0.0.1:{port}"
            assert "    listen 80;\n" in text
            text = text.replace("    listen 80;\n", f"    {listen}{' ssl' if tls else ''};\n")
            if tls:
                wanted = {"ssl_certificate ": certificates.certificate, "ssl_certificate_key ": certificates.key}
                for line in text.splitlines():
                    word = line.strip("# ").split(" ")[0] + " "
                    if word in wanted:
                        text = text.replace(line, f"    {word}{wanted[word]};")
            (tmp_path / "web.conf").write_text(text)
            user = "user root;" if os.getuid() == 0 else ""
            (tmp_path / "nginx.conf").write_text(AROUND.format(here=tmp_path, user=user))
            sock = tmp_path / "web.sock"
            arguments = ["--uds", sock, "--uds-mode", "660", "--forwarded-allow-ips", "unix:", "--workers", workers]
            server = uvicorn(*arguments, *options, app=(HERE / "app.py").read_text(), ready=None)
            server.wait_for("Application startup complete", count=workers)
            front = Running(command=[nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")], cwd=tmp_path)
            stack.enter_context(front)
            until(lambda: is_listening(port), "nginx listens", log=lambda: front.log)
            return Behind(front, server, port, tmp_path)

        yield start


def is_listening(port: int) -> bool:
    try:
        Wire.connect(port).close()
    except OSError:
        return False
    return True


def test_the_application_sees_the_client_and_its_host_and_nothing_forged(behind: Callable[..., Behind]):
    web = behind()
    forged = (
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Host: evil\r\n"
    )
    seen = get_json(web.port, "/scope", headers=forged)
    assert seen["client"] == ["127.0.0.1", 0]
    assert seen["scheme"] == "http"
    assert seen["host"] == "localhost"
    with LoadClient(web.port, connections=8) as load:  # one after the other, nginx would use one connection to us
        until(lambda: len(load.report.bodies) == 2, "both workers answer", log=lambda: str(load.report))


def test_tls_in_nginx_is_https_in_the_scope(behind: Callable[..., Behind], certificates: Any):
    web = behind(tls=True)
    assert get_json(web.port, "/scope", tls=certificates.context())["scheme"] == "https"


def test_a_websocket_goes_through(behind: Callable[..., Behind]):
    client = pytest.importorskip("websockets.sync.client")
    web = behind()
    with client.connect(f"ws://127.0.0.1:{web.port}/") as socket:
        socket.send("hello")
        assert socket.recv(timeout=60) == "hello from ws"


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
    with Wire.connect(web.port) as wire:
        wire.send(b"GET /hold?gate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        seen = b""
        while b"held\n" not in seen:
            seen += (part := wire.read_some())
            assert part, seen
        (web.here / "gate").touch()
        assert b"let go\n" in wire.read_until_close()


def test_reloads_of_both_under_load_fail_nothing(behind: Callable[..., Behind]):
    web = behind()
    post = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
    # nginx closes idle connections when it reloads: what is judged here is what it was asked, and got from us.
    with LoadClient(web.port, connections=3, request=post, method="POST", keep_alive=False) as load:
        before = pids(web.port, 2)
        web.server.signal(signal.SIGHUP)
        after = pids(web.port, 2, without=before)
        web.server.wait_for("Reloaded: ")
        web.reload_nginx()
        load.wait_for_answers(30)
        web.server.signal(signal.SIGHUP)
        pids(web.port, 2, without=before | after)
        web.server.wait_for("Reloaded: ", count=2)
        report = load.stop()
    assert report.failures == 0, str(report)


def test_kept_connections_that_idle_are_never_lost(behind: Callable[..., Behind]):
    """nginx gives up an idle connection before we do: no 502 for the POST that comes in that moment."""
    web = behind(workers=1)
    with Wire.connect(web.port) as wire:
        for pause in (3.8, 4.1):
            time.sleep(pause)
            assert wire.request(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "POST").status == 200


def test_a_server_that_is_away_is_found_the_moment_it_is_back(behind: Callable[..., Behind], uvicorn: Any):
    web = behind(workers=1)
    assert web.server.stop() in (0, -15)
    assert not (web.here / "web.sock").exists()
    assert get(web.port).status == 502
    arguments = ["--uds", web.here / "web.sock", "--forwarded-allow-ips", "unix:"]
    uvicorn("app:app", *arguments)
    assert get(web.port).status == 200


def test_the_shipped_file_passes_nginxs_own_check(behind: Callable[..., Behind]):
    web = behind(workers=1)
    done = subprocess.run(
        [program("nginx"), "-t", "-p", str(web.here), "-c", str(web.here / "nginx.conf")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr
    assert json.loads(get(web.port, "/scope").body)["client"] == ["127.0.0.1", 0]
