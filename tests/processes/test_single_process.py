"""One process under the real command: what each signal does, and what is left of it."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.processes.helpers import DEADLINE
from tests.support.processes import Running, in_environment

APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        except BaseException:
            await send({"type": "lifespan.shutdown.failed", "message": "Traceback of the lifespan"})
            raise
        print("LIFESPAN ENDS", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        print("SLOW BEGINS", flush=True)
        await asyncio.sleep(float(scope["query_string"] or 600))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def ask(server: Running, path: str = "/") -> socket.socket:
    assert server.port is not None
    client = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
    client.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    return client


def answer(client: socket.socket) -> bytes:
    with client, client.makefile("rb") as stream:
        return stream.read()


@LOOPS
def test_sigterm_finishes_requests_and_dies_by_the_signal(uvicorn: Callable[..., Running], loop: str) -> None:
    server = uvicorn("--loop", loop, app=APP)
    client = ask(server, "/slow?0.7")
    server.wait_for("SLOW BEGINS", DEADLINE)
    server.signal(signal.SIGTERM)
    server.wait_for("Shutting down", DEADLINE)
    server.signal(signal.SIGTERM)  # managers send it twice
    data = answer(client)
    assert data.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in data
    assert server.wait(DEADLINE) == -signal.SIGTERM
    server.wait_for("LIFESPAN ENDS", DEADLINE)
    server.wait_for("Finished server process", DEADLINE)
    assert "Traceback" not in server.log


@LOOPS
def test_sigint_exits_0_without_a_traceback(uvicorn: Callable[..., Running], loop: str) -> None:
    server = uvicorn("--loop", loop, app=APP)
    server.signal(signal.SIGINT)
    assert server.wait(DEADLINE) == 0
    assert "LIFESPAN ENDS" in server.log
    assert "Traceback" not in server.log


@LOOPS
def test_second_sigint_forces_and_prints_no_traceback(uvicorn: Callable[..., Running], loop: str) -> None:
    server = uvicorn("--loop", loop, app=APP)
    client = ask(server, "/slow")
    server.wait_for("SLOW BEGINS", DEADLINE)
    server.signal(signal.SIGINT)
    server.wait_for("Waiting for connections to close", DEADLINE)
    server.signal(signal.SIGINT)
    assert server.wait(DEADLINE) == 0
    client.close()
    assert "LIFESPAN ENDS" not in server.log
    assert "Traceback" not in server.log, server.log
    assert "Error" not in server.log, server.log


@LOOPS
def test_sighup_is_ignored_with_a_line_that_says_why(uvicorn: Callable[..., Running], loop: str) -> None:
    server = uvicorn("--loop", loop, app=APP)
    server.signal(signal.SIGHUP)
    server.wait_for("Received SIGHUP, ignored: a single process cannot replace itself", DEADLINE)
    client = ask(server)
    server.signal(signal.SIGTERM)
    assert answer(client).endswith(b"ok")
    assert server.wait(DEADLINE) == -signal.SIGTERM


@LOOPS
def test_sigquit_is_fast_and_still_ends_the_lifespan(uvicorn: Callable[..., Running], loop: str) -> None:
    server = uvicorn("--loop", loop, app=APP)
    client = ask(server, "/slow")
    server.wait_for("SLOW BEGINS", DEADLINE)
    server.signal(signal.SIGQUIT)
    assert server.wait(DEADLINE) == 0
    client.close()
    assert "Cancel 1 running task(s), timeout graceful shutdown exceeded" in server.log
    assert "LIFESPAN ENDS" in server.log


@LOOPS
def test_connection_without_a_request_at_sigterm_is_answered(uvicorn: Callable[..., Running], loop: str) -> None:
    server = uvicorn("--loop", loop, app=APP)
    assert server.port is not None
    client = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
    server.signal(signal.SIGTERM)
    server.wait_for("Shutting down", DEADLINE)
    client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer(client).endswith(b"ok")
    assert server.wait(DEADLINE) == -signal.SIGTERM


@LOOPS
def test_idle_server_makes_no_wakeups(uvicorn: Callable[..., Running], loop: str) -> None:
    server = uvicorn("--loop", loop, app=APP)
    client = ask(server)
    assert client.recv(1000)
    client.close()
    server.wait_for("200 OK", DEADLINE)

    def switches() -> int:
        return sum(
            int(line.split()[1])
            for task in Path(f"/proc/{server.pid}/task").iterdir()
            for line in (task / "status").read_text().splitlines()
            if line.startswith("voluntary_ctxt_switches")
        )

    counts = []
    for _ in range(8):  # the first ones are for the connection's own clock to run out, and for a busy machine
        before = switches()
        time.sleep(2.0)
        counts.append(switches() - before)
        if counts[-1] <= 2:
            return
    pytest.fail(f"in 2 s each it woke up {counts} times")


def test_patched_handle_exit_is_called_and_finds_the_server(uvicorn: Callable[..., Running]) -> None:
    """As sse-starlette does it, from the application's module: on the class, and by the handler's `__self__`."""
    app = """
import asyncio, signal
from uvicorn.main import Server

original = Server.handle_exit

def handle_exit(*args, **kwargs):
    print("PATCHED", flush=True)
    original(*args, **kwargs)

Server.handle_exit = handle_exit

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    server = signal.getsignal(signal.SIGTERM).__self__
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while not server.should_exit:
        await send({"type": "http.response.body", "body": b"tick", "more_body": True})
        await asyncio.sleep(0.05)
    await send({"type": "http.response.body", "body": b"END"})
"""
    server = uvicorn(app=app)
    client = ask(server)
    assert client.recv(10)
    server.signal(signal.SIGTERM)
    assert b"END" in answer(client)
    assert server.wait(DEADLINE) == -signal.SIGTERM
    assert "PATCHED" in server.log


def test_embedded_server_leaves_sighup_alone(tmp_path: Path) -> None:
    (tmp_path / "host.py").write_text(
        """
import asyncio, signal, threading, uvicorn

async def app(scope, receive, send):
    raise NotImplementedError

got = []
signal.signal(signal.SIGHUP, lambda *args: got.append(args))
signal.signal(signal.SIGTERM, lambda *args: got.append(args))
server = uvicorn.Server(uvicorn.Config(app, port=0))

class Signals(threading.Thread):
    def run(self):
        while not server.started:
            threading.Event().wait(0.01)
        # To this thread: the loop sleeps in the main one, where the handlers run.
        signal.pthread_kill(threading.get_ident(), signal.SIGHUP)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

thread = Signals()
thread.start()
server.run()
thread.join()
assert [args[0] for args in got] == [signal.SIGHUP, signal.SIGTERM], got
print("HOST GOES ON")
"""
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "host.py"],
            cwd=tmp_path,
            env=in_environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "HOST GOES ON" in done.stdout


def test_unix_socket_is_gone_after_sigterm(uvicorn: Callable[..., Running], tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    server = uvicorn("--uds", path, app=APP)
    assert path.exists()
    server.signal(signal.SIGTERM)
    assert server.wait(DEADLINE) == -signal.SIGTERM
    assert not path.exists()


def test_failed_startup_exits_3(uvicorn: Callable[..., Running]) -> None:
    app = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""
    server: Any = uvicorn(app=app, ready=None)
    assert server.wait(DEADLINE) == 3
    assert "ERROR:    no database" in server.log
    assert "ERROR:    Application startup failed. Exiting." in server.log


def test_hangup_because_the_terminal_is_gone_stops_it(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    terminal, its_end = pty.openpty()
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "app:app", "--port", "0"],
            cwd=tmp_path,
            env=in_environment(),
            stdin=its_end,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
    os.close(its_end)
    try:
        deadline = time.monotonic() + DEADLINE
        while "Uvicorn running" not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline, "the server does not run"
            time.sleep(0.02)
        os.close(terminal)
        assert process.wait(DEADLINE) == -signal.SIGTERM
        assert "LIFESPAN ENDS" in (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()
