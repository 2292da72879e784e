"""WebSockets on every kind of socket that the command serves: TCP, UNIX, TLS, inherited; alone and behind a master."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Certificates
from tests.support.processes import Running
from tests.support.wire import Wire

from .app import ECHO
from .harness import BINARY, PING, PONG, TEXT, Client, Frame, close_frame, frame, handshake

pytestmark = pytest.mark.parametrize(
    "workers", [1, pytest.param(2, marks=pytest.mark.skipif(sys.platform != "linux", reason="the master needs Linux"))]
)


def converse(connect: Callable[[], Wire]) -> dict[str, Any]:
    """Shake hands, exchange, and close; returns what the application saw of its scope."""
    with Client(connect()) as client:
        # the first frame comes with the handshake
        client.wire.send(handshake("/d%C3%A4r?q=1") + frame(TEXT, b"early"))
        assert client.read_handshake().status == 101
        seen: dict[str, Any] = json.loads(client.message())
        assert client.message() == "early"
        payload = bytes(range(256)) * 1000
        client.send(frame(BINARY, payload), frame(PING, b"?"))
        answers = [client.read(), client.read()]  # a pong may overtake the application's answer
        assert Frame(BINARY, payload) in answers
        assert Frame(PONG, b"?") in answers
        assert client.close(4321, "done") == (4321, "done")
    return seen


def stop(server: Running, connect: Callable[[], Wire]) -> None:
    """End the server while a WebSocket is open: it gets its close frame, the application its disconnect."""
    with Client(connect()) as client:
        client.wire.send(handshake("/about"))
        assert client.read_handshake().status == 101
        client.message()
        server.signal(signal.SIGTERM)
        assert client.read_close() == (1012, "")
        client.send(close_frame(1012))
        assert client.ended() == "eof"
    server.wait()
    assert "END 4321 done" in server.log
    assert "END 1012" in server.log
    assert "Traceback" not in server.log


def start(uvicorn: Callable[..., Running], workers: int, *arguments: Any, **kw: Any) -> Running:
    server = uvicorn("--workers", workers, *arguments, app=ECHO, ready=None, **kw)
    server.wait_for("READY", count=workers)
    return server


@contextmanager
def listening(address: Any) -> Iterator[socket.socket]:
    """A socket as a supervisor makes it: bound, and listening already, so that nobody is refused meanwhile."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.bind(address)
        sock.listen(64)
        yield sock


def test_tcp(uvicorn: Callable[..., Running], workers: int) -> None:
    server = start(uvicorn, workers)
    server.wait_for("Uvicorn running on")
    seen = converse(lambda: Wire.connect(server))
    assert (seen["scheme"], seen["path"]) == ("ws", "/där")
    assert seen["server"] == ["127.0.0.1", server.port]
    stop(server, lambda: Wire.connect(server))


def test_a_unix_socket(uvicorn: Callable[..., Running], tmp_path: Path, workers: int) -> None:
    path = str(tmp_path / "s")
    server = start(uvicorn, workers, "--uds", path)
    server.wait_for("Uvicorn running on")
    seen = converse(lambda: Wire.connect(path))  # type: ignore[arg-type]
    assert (seen["scheme"], seen["server"], seen["client"]) == ("ws", [path, None], None)
    stop(server, lambda: Wire.connect(path))  # type: ignore[arg-type]


def test_tls(uvicorn: Callable[..., Running], certificates: Certificates, workers: int) -> None:
    server = start(uvicorn, workers, *certificates.options)
    server.wait_for("Uvicorn running on")
    context = certificates.context()
    seen = converse(lambda: Wire.connect(server, tls=context))
    assert (seen["scheme"], seen["path"]) == ("wss", "/där")
    stop(server, lambda: Wire.connect(server, tls=context))


def test_inherited_sockets(uvicorn: Callable[..., Running], tmp_path: Path, workers: int) -> None:
    path = str(tmp_path / "s")
    with ExitStack() as stack:
        tcp, unix = (stack.enter_context(listening(address)) for address in (("127.0.0.1", 0), path))
        fds = [tcp.fileno(), unix.fileno()]
        server = start(uvicorn, workers, *(f"--fd={fd}" for fd in fds), pass_fds=fds)
        port = tcp.getsockname()[1]
        assert converse(lambda: Wire.connect(port))["server"] == ["127.0.0.1", port]
        assert converse(lambda: Wire.connect(path))["server"] == [path, None]  # type: ignore[arg-type]
        stop(server, lambda: Wire.connect(port))
        assert Path(path).exists(), "an inherited socket belongs to whoever made it"
