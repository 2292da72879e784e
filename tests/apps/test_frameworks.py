"""Real applications behind four workers, over real sockets: they see what they expect, clients get what they sent."""

from __future__ import annotations

import importlib.util
import json
import random
import re
from pathlib import Path

import pytest

from tests.support.load import LoadClient
from tests.support.processes import Running, free_port
from tests.support.wire import Response, Wire

SERVED = Path(__file__).with_name("served")
NEEDS = {"fastapi": "fastapi", "starlette": "starlette", "django": "django", "wsgi": None}
TRANSPORTS = ["tcp", "tls", "uds", "h11"]


def request(method: str, path: str, body: bytes | list[bytes] = b"", kind: str = "application/octet-stream") -> bytes:
    """A request; a body given in pieces is sent chunked."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    if isinstance(body, list):
        pieces = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in body)
        return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + pieces + b"0\r\n\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Served:
    def __init__(self, name: str, transport: str, tmp_path: Path, certificates) -> None:
        needed = NEEDS[name]
        if needed is not None and importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
        self.name = name
        self.transport = transport
        self.tls = certificates.context() if transport == "tls" else None
        options = ["--workers", "4", "--app-dir", str(SERVED)]
        if transport == "uds":
            options += ["--uds", str(tmp_path / "s.sock")]
        else:
            options += ["--port", str(free_port())]
        if transport == "tls":
            options += certificates.options
        if transport == "h11":
            options += ["--http", "h11", "--loop", "asyncio"]
        if name == "wsgi":
            options += ["--interface", "wsgi"]
        self.running = Running(f"{name}_app:app", *options, cwd=tmp_path)

    def connect(self) -> Wire:
        return Wire.connect(self.running, tls=self.tls)

    def ask(self, *args, method: str = "GET") -> Response:
        with self.connect() as wire:
            return wire.request(request(*args), method)


@pytest.fixture(params=NEEDS)
def framework(request):
    return request.param


@pytest.fixture(params=TRANSPORTS)
def served(request, framework, tmp_path, certificates):
    server = Served(framework, request.param, tmp_path, certificates)
    with server.running as running:
        ready = "Started server process" if framework in ("django", "wsgi") else "Application startup complete"
        running.wait_for(ready, count=4)
        running.wait_for("Uvicorn running on")
        yield server


def test_four_workers_serve_it_whole(served):
    """One server start for all of it: starting four workers with a framework costs more than asking them."""
    every_worker_answers(served)
    the_app_sees_the_transport(served)
    bodies_come_back(served)
    streams_arrive(served)
    errors_are_answered(served)
    head_has_no_body(served)
    many_requests_on_one_connection(served)
    assert served.running.stop() == 0
    assert served.running.descendants() == []


def every_worker_answers(served: Served) -> None:
    asking = LoadClient(
        served.running, connections=8, request=request("GET", "/who"), keep_alive=False, pause=0.01, tls=served.tls
    )
    with asking:
        for _ in range(60):
            asking.wait_for_answers(20)
            pids = {json.loads(body)["pid"] for body in list(asking.report.bodies)}
            if len(pids) == 4:
                break
        report = asking.stop()
    assert report.failures == 0, report
    assert len(pids) == 4, f"only {pids} answered {report.answers} requests"
    assert served.running.pid not in pids
    assert pids <= set(served.running.descendants())


def the_app_sees_the_transport(served: Served) -> None:
    seen = json.loads(served.ask("GET", "/who?a=b").body)
    assert seen["scheme"] == ("https" if served.transport == "tls" else "http")
    if served.name in ("fastapi", "starlette"):
        assert seen["client"] is (served.transport != "uds")


def bodies_come_back(served: Served) -> None:
    body = random.Random(7).randbytes(1 << 20)
    assert served.ask("POST", "/echo", body).body == body
    pieces = [body[start : start + 65_000] for start in range(0, len(body), 65_000)]
    assert served.ask("POST", "/echo", pieces).body == body
    assert served.ask("POST", "/echo", b"").body == b""


def streams_arrive(served: Served) -> None:
    response = served.ask("GET", "/stream")
    assert response.body == b"0\n1\n2\n3\n4\n"
    assert response.framing == "chunked"


def errors_are_answered(served: Served) -> None:
    assert served.ask("GET", "/missing").status == 404
    mark = len(served.running.log)
    assert served.ask("GET", "/raise").status == 500
    if served.name != "django":  # it logs by itself, and answers
        served.running.wait_for("RuntimeError: asked for", after=mark)
    assert served.ask("GET", "/who").status == 200


def head_has_no_body(served: Served) -> None:
    with served.connect() as wire:
        response = wire.request(request("HEAD", "/who"), "HEAD")
        assert response.status in (200, 405)  # FastAPI routes do not answer HEAD
        assert wire.request(request("GET", "/who")).status == 200


def many_requests_on_one_connection(served: Served) -> None:
    with served.connect() as wire:
        pids = {json.loads(wire.request(request("GET", "/who")).body)["pid"] for _ in range(20)}
        assert len(pids) == 1
        wire.send(request("GET", "/who") * 5)
        assert [wire.read_response().status for _ in range(5)] == [200] * 5


def test_fastapi_validates_runs_threads_and_background_tasks(tmp_path, certificates):
    server = Served("fastapi", "tcp", tmp_path, certificates)
    with server.running as running:
        running.wait_for("Application startup complete", count=4)
        assert json.loads(server.ask("GET", "/threaded/7?q=x%20y").body) == {"number": 7, "q": "x y"}
        good = json.dumps({"name": "a", "price": 1.5}).encode()
        assert json.loads(server.ask("POST", "/item", good, "application/json").body) == {"name": "a", "price": 1.5}
        assert server.ask("POST", "/item", b"{}", "application/json").status == 422
        assert b'"openapi":"3.' in server.ask("GET", "/openapi.json").body


def test_starlette_serves_files_and_mounted_routes(tmp_path, certificates):
    server = Served("starlette", "tcp", tmp_path, certificates)
    with server.running as running:
        running.wait_for("Application startup complete", count=4)
        assert server.ask("GET", "/source").body == (SERVED / "starlette_app.py").read_bytes()
        assert server.ask("GET", "/below/who").status == 200
        with server.connect() as wire:
            assert wire.request(b"GET /who HTTP/1.1\r\nHost: elsewhere\r\n\r\n").status == 400


def test_access_lines_name_client_request_and_status(tmp_path, certificates):
    server = Served("starlette", "tcp", tmp_path, certificates)
    with server.running as running:
        running.wait_for("Application startup complete", count=4)
        server.ask("GET", "/who?a=%C3%A9")
        server.ask("GET", "/missing")
        # Two workers may have answered: each line comes when it comes.
        for line in ('"GET /who?a=%C3%A9 HTTP/1.1" 200 OK', '"GET /missing HTTP/1.1" 404 Not Found'):
            found = running.wait_for(rf"127\.0\.0\.1:\d+ - {re.escape(line)}")
            assert found[0] in running.stdout
