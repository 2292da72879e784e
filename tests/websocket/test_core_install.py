"""What a plain `pip install uvicorn` can do: WebSockets with nothing but click and h11."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import Running
from tests.support.wire import Wire

from .app import ECHO
from .harness import BINARY, TEXT, Client, frame, handshake

HIDDEN = """\
import sys

for name in ("websockets", "wsproto", "uvloop", "httptools", "yaml", "dotenv", "watchfiles", "psutil"):
    sys.modules[name] = None  # importing it is an ImportError now
"""
DEFLATE = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]


@pytest.mark.parametrize("ws", ["auto", "websockets", "websockets-sansio"])
def test_websockets_need_no_other_package(uvicorn: Callable[..., Running], tmp_path: Path, ws: str) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HIDDEN)
    server = uvicorn("--ws", ws, app=ECHO, ready="READY", env={"PYTHONPATH": str(tmp_path / "site")})
    server.wait_for("Uvicorn running on")
    for headers in ([], DEFLATE):
        with Client(Wire.connect(server, timeout=20)) as client:
            client.wire.send(handshake("/", headers))
            response = client.read_handshake()
            assert (response.status, response.get("sec-websocket-extensions") is None) == (101, not headers)
            for length in (0, 1, 126, 70_000):  # not compressed, which a client may choose for each message
                client.send(frame(BINARY, b"x" * length), frame(TEXT, b"y" * length))
                echoed = [client.read(), client.read()]
                assert [answer.opcode for answer in echoed] == [BINARY, TEXT]
                if not headers:
                    assert [answer.payload for answer in echoed] == [b"x" * length, b"y" * length]
            assert client.close(1000, "bye") == (1000, "bye")
    assert "Error" not in server.log
