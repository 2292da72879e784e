"""What is asked of a started application, over HTTP, WebSocket, server-sent events."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Callable
from contextlib import closing

Question = Callable[[int], None]
"""Asks the server at a port; AssertionError or OSError if the answer is not right."""

PATIENCE = 20  # seconds


def gets(path: str, text: str) -> Question:
    """GET is answered 200, with this text in it."""

    def ask(port: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode(errors="replace")
            assert response.status == 200, f"GET {path}: {response.status} {body[:200]}"
            assert text in body, f"GET {path}: no {text!r} in {body[:200]!r}"

    return ask


def talks_websocket(path: str) -> Question:
    """A message is answered by "echo " and itself."""

    def ask(port: int) -> None:
        from websockets.sync.client import connect

        with connect(f"ws://127.0.0.1:{port}{path}", open_timeout=PATIENCE, close_timeout=PATIENCE) as connection:
            connection.send("hello")
            answer = connection.recv(timeout=PATIENCE)
            assert answer == "echo hello", f"WebSocket {path}: {answer!r}"

    return ask


def open_stream(port: int, path: str) -> socket.socket:
    """Return a connection on which the answer to a GET has begun."""
    return _stream(port, path)[0]


def _stream(port: int, path: str) -> tuple[socket.socket, bytes]:
    """Return the connection, and what came of the answer: its head at least."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n".encode())
    received = b""
    while b"\r\n\r\n" not in received:
        data = sock.recv(65536)
        assert data, f"GET {path}: the connection ended after {received[:200]!r}"
        received += data
    assert b" 200 " in received, f"GET {path}: {received[:200]!r}"
    return sock, received


def serves_events(path: str, text: str) -> Question:
    """A stream of events begins, and this text comes in it."""

    def ask(port: int) -> None:
        deadline = time.monotonic() + PATIENCE
        sock, received = _stream(port, path)
        with sock:
            while text.encode() not in received:
                assert time.monotonic() < deadline, f"GET {path}: no {text!r} in {received[:500]!r}"
                data = sock.recv(65536)
                assert data, f"GET {path}: the stream ended after {received[:200]!r}"
                received += data

    return ask


def polls_socketio(path: str) -> Question:
    """Engine.IO's handshake is answered with a session that offers WebSocket."""

    def ask(port: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
            connection.request("GET", f"{path}?EIO=4&transport=polling")
            body = connection.getresponse().read().decode()
            assert re.search(r'"sid":.*"websocket"', body), f"GET {path}: {body[:200]!r}"

    return ask


def greets_by_websocket(path: str, text: str) -> Question:
    """A WebSocket is accepted, and its first message holds this text."""

    def ask(port: int) -> None:
        from websockets.sync.client import connect

        with connect(f"ws://127.0.0.1:{port}{path}", open_timeout=PATIENCE, close_timeout=PATIENCE) as connection:
            message = connection.recv(timeout=PATIENCE)
            assert text in str(message), f"WebSocket {path}: {message!r}"

    return ask


def accepts_websocket(path: str) -> Question:
    """A WebSocket is accepted; nothing is said on it."""

    def ask(port: int) -> None:
        from websockets.sync.client import connect

        with connect(f"ws://127.0.0.1:{port}{path}", open_timeout=PATIENCE, close_timeout=PATIENCE):
            pass

    return ask


def answers_by_events(path: str, data: str, text: str) -> Question:
    """Gradio: a call is posted, and its result comes as events."""

    def ask(port: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
            connection.request("POST", path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse().read().decode()
        found = re.search(r'"event_id": *"(\w+)"', answer)
        assert found, f"POST {path}: {answer[:200]!r}"
        serves_events(f"{path}/{found[1]}", text)(port)

    return ask
