"""Two hundred open WebSockets while real processes stop, reload and scale: each gets its close frame, none is cut."""

from __future__ import annotations

import json
import selectors
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.processes import Running
from tests.support.wire import Wire

from .app import ECHO
from .harness import Client, close_frame, handshake

MANY = 200

linux = pytest.mark.skipif(sys.platform != "linux", reason="the master needs Linux")


def connect(server: Running) -> dict[Client, int]:
    """Open them all; returns the process that serves each."""
    clients = {}
    for _ in range(MANY):
        client = Client(Wire.connect(server, timeout=60))
        client.wire.send(handshake("/about"))
        assert client.read_handshake().status == 101
        clients[client] = json.loads(client.message())["pid"]
    return clients


def closed(clients: list[Client], timeout: float = 60) -> Counter[tuple[int | None, str | None]]:
    """Answer the close frame of each when it comes; returns the codes, and how the connections ended."""
    deadline = time.monotonic() + timeout
    found: Counter[tuple[int | None, str | None]] = Counter()
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.wire.sock, selectors.EVENT_READ, client)
        while found.total() < len(clients):
            assert time.monotonic() < deadline, f"of {len(clients)} only {found} in {timeout} s"
            for key, _ in selector.select(1):
                client = key.data
                code, _ = client.read_close()
                client.send(close_frame(code))
                found[code, client.ended()] += 1
                selector.unregister(client.wire.sock)
                client.wire.close()
    return found


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=linux)])
def test_a_stop_closes_each_with_1012(uvicorn: Callable[..., Running], workers: int) -> None:
    server = uvicorn("--workers", workers, "--log-level", "warning", app=ECHO, ready=None)
    server.wait_for("READY", count=workers)
    clients = open_when_listening(server)
    server.signal(signal.SIGTERM)
    assert closed(list(clients)) == {(1012, "eof"): MANY}
    server.wait()
    assert server.log.count("END 1012") == MANY


@linux
def test_a_rolling_restart_closes_each_with_1012_and_serves_on(uvicorn: Callable[..., Running]) -> None:
    server = uvicorn("--workers", 2, "--log-level", "warning", app=ECHO, ready=None)
    server.wait_for("READY", count=2)
    clients = open_when_listening(server)
    server.signal(signal.SIGHUP)
    assert closed(list(clients)) == {(1012, "eof"): MANY}
    server.wait_for("END 1012", count=MANY)
    after = open_when_listening(server)
    assert set(after.values()).isdisjoint(clients.values())
    server.signal(signal.SIGTERM)
    assert closed(list(after)) == {(1012, "eof"): MANY}


@linux
def test_one_worker_less_closes_those_of_its_own_with_1012(uvicorn: Callable[..., Running]) -> None:
    server = uvicorn("--workers", 2, "--log-level", "warning", app=ECHO, ready=None)
    server.wait_for("READY", count=2)
    clients = open_when_listening(server)
    share = Counter(clients.values())
    server.signal(signal.SIGTTOU)
    deadline = time.monotonic() + 60
    leaving: list[Client] = []
    while not leaving:
        assert time.monotonic() < deadline, "nobody was closed in a minute"
        leaving = [client for client in clients if client.wire.is_readable()]
        time.sleep(0.01)
    (pid,) = {clients[client] for client in leaving}
    assert closed([client for client in clients if clients[client] == pid]) == {(1012, "eof"): share[pid]}
    server.wait_for("END 1012", count=share[pid])
    staying = [client for client in clients if clients[client] != pid]
    still_here(staying)
    assert server.log.count("END") == share[pid]
    server.signal(signal.SIGTERM)
    assert closed(staying) == {(1012, "eof"): MANY - share[pid]}
    server.wait()
    assert server.log.count("END 1012") == MANY


@linux
def test_one_worker_more_closes_none(uvicorn: Callable[..., Running]) -> None:
    server = uvicorn("--workers", 2, "--log-level", "warning", app=ECHO, ready=None)
    server.wait_for("READY", count=2)
    clients = open_when_listening(server)
    server.signal(signal.SIGTTIN)
    server.wait_for("READY", count=3)
    still_here(list(clients))
    more = open_when_listening(server)
    still_here(list(clients) + list(more))
    assert "END" not in server.log
    server.signal(signal.SIGTERM)
    assert closed(list(clients) + list(more)) == {(1012, "eof"): 2 * MANY}
    server.wait()
    assert server.log.count("END 1012") == 2 * MANY


def still_here(clients: list[Client]) -> None:
    """Each is open, and gets its answer."""
    for client in clients:
        client.text("still here")
    for client in clients:
        assert client.message() == "still here"


def open_when_listening(server: Running) -> dict[Client, Any]:
    deadline = time.monotonic() + 60
    while True:
        try:
            Wire.connect(server).close()
            break
        except OSError:
            assert time.monotonic() < deadline, f"not listening in a minute: {server.log}"
            time.sleep(0.02)
    return connect(server)
