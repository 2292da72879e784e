"""Words for the tests of this folder: connect, tell the application what to do, ask it what it saw, judge a refusal."""

from __future__ import annotations

import ast
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from tests.support import Response, Running, Wire

Message = dict[str, Any]

HOST = b"Host: example.org\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
LAST = b"GET /last HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
"""A request that ends its connection: what comes before it must have left the stream in order."""


# -- requests --


_one_at_a_time = threading.Lock()


def _value(text: str) -> Any:
    """Return the value of a literal. Two threads of CPython 3.11 must not parse at the same time (SystemError)."""
    with _one_at_a_time:
        return ast.literal_eval(text)


def get(target: bytes = b"/", fields: bytes = b"", version: bytes = b"1.1", method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" HTTP/" + version + b"\r\n" + HOST + fields + b"\r\n"


def post(body: bytes, fields: bytes = b"", target: bytes = b"/", version: bytes = b"1.1") -> bytes:
    return get(target, b"Content-Length: %d\r\n" % len(body) + fields, version, b"POST") + body


def chunked(body: bytes, fields: bytes = b"", target: bytes = b"/") -> bytes:
    """A chunked POST; `body` is already in chunks."""
    return get(target, b"Transfer-Encoding: chunked\r\n" + fields, method=b"POST") + body


def start(status: Any = 200, *headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes = b"", more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def play(*steps: tuple[Any, ...] | str) -> bytes:
    """The target that makes the application run these steps (see `app.py`); a str is a step's source."""
    source = "[" + ", ".join(step if isinstance(step, str) else repr(step) for step in steps) + "]"
    return b"/play?" + quote_from_bytes(source.encode(), safe="()[]{}:,=*").encode()


def sends(*messages: Message) -> bytes:
    """The target that makes the application send these messages, without receiving any."""
    return play(*(("send", message) for message in messages))


# -- answers --


@dataclass(frozen=True)
class Echo:
    """What the application saw of one request."""

    scope: dict[str, Any]
    body: bytes
    types: list[str]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return self.scope["headers"]  # type: ignore[no-any-return]


def echo(response: Response) -> Echo:
    assert response.status == 200, (response.status, response.body)
    return Echo(**_value(response.body.decode()))


_connected: set[tuple[int, int]] = set()


def connect(server: Running, timeout: float = 30, receive_buffer: int | None = None) -> Wire:
    """A connection from a port that no earlier one to this server had, so that the journal holds its calls alone.

    `receive_buffer`: octets that the client's kernel takes on its own, about; None: as it likes.
    """
    passed_over = []
    while True:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout)
        sock.connect(server.address)
        wire = Wire(sock, timeout)
        key = (server.pid, port_of(wire))
        if key not in _connected:
            _connected.add(key)
            for other in passed_over:
                other.close()
            return wire
        passed_over.append(wire)


def ask(server: Running, request: bytes, method: str = "GET") -> Response:
    """One request over a connection of its own."""
    with connect(server) as wire:
        return wire.request(request, method)


def inquire(server: Running, target: bytes) -> bytes:
    """Ask what the journal does not hold."""
    with Wire.connect(server) as wire:
        return wire.request(get(target)).body


def assert_refusal(response: Response, status: int = 400) -> None:
    """The answer is the server's own: its text, the default headers, and the last of its connection."""
    assert response.status == status, (response.status, response.body)
    assert response.reason
    expected = "Invalid HTTP request received." if status == 400 else response.reason
    assert response.body.decode() == expected
    assert response.get("content-type") == b"text/plain; charset=utf-8"
    assert response.get("content-length") == str(len(expected)).encode()
    assert response.get("connection") == b"close"
    assert response.get("server") == b"uvicorn"
    assert response.get("date") is not None


def assert_refused(wire: Wire, status: int = 400) -> Response:
    """The next answer is a refusal, and nothing but the end of the connection follows, no reset."""
    response = wire.read_response()
    assert_refusal(response, status)
    assert_ended(wire)
    return response


def assert_ended(wire: Wire, within: float = 30) -> None:
    rest = wire.read_until_close(within)
    assert (rest, wire.ended) == (b"", "eof")


# -- the journal of the application --


def port_of(wire: Wire) -> int:
    return wire.sock.getsockname()[1]  # type: ignore[no-any-return]


def journal(server: Running, port: int | Wire) -> list[dict[str, Any]]:
    """The calls that came over this client port: their `scope`, what they `received` and `sent`, their `outcome`."""
    number = port_of(port) if isinstance(port, Wire) else port
    return _value(inquire(server, b"/journal?%d" % number).decode())  # type: ignore[no-any-return]


def paths(server: Running, port: int | Wire) -> list[str]:
    return [call["scope"]["path"] for call in journal(server, port)]


def wait_for_call(
    server: Running,
    port: int | Wire,
    wanted: Callable[[dict[str, Any]], bool] = lambda call: call["outcome"] != "running",
    timeout: float = 30,
) -> dict[str, Any]:
    """The first call of this client port that is as wanted; waits for it."""
    deadline = time.monotonic() + timeout
    while True:
        calls = journal(server, port)
        for call in calls:
            if wanted(call):
                return call
        assert time.monotonic() < deadline, f"no such call in {timeout} s among {calls}"
        time.sleep(0.01)  # the application has no event for us


def release(server: Running, name: str) -> None:
    inquire(server, b"/release?" + name.encode())


def cpu_seconds(server: Running) -> float:
    """The time that the server's process has worked so far; unlike the clock's, no load of others adds to it."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, proc(5)


def usage(server: Running) -> dict[str, int]:
    return _value(inquire(server, b"/usage").decode())  # type: ignore[no-any-return]
