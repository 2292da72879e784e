"""A client that does only what it is told, and says what came back, without what changes from run to run."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 30.0
"""Seconds without an octet after which a server is taken for stuck."""
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FOLLOW_UP = b"GET /?follow-up HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@dataclass
class Response:
    status: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    framing: str = "none"
    """How its end was known: by "length", "chunked", at the "end" of the connection; "none": it has no body."""
    body: str = ""

    def facets(self) -> dict[str, Any]:
        """Return what can be compared apart: names of headers in lower case, those of the framing left out."""
        kept = sorted(
            f"{name.lower()}: {'<date>' if name.lower() == 'date' and value != 'never' else value}"
            for name, value in self.headers
            if name.lower() not in ("content-length", "transfer-encoding", "connection")
        )
        connection = sorted(value.lower() for name, value in self.headers if name.lower() == "connection")
        told = sorted(
            f"{name.lower()}: {value}"
            for name, value in self.headers
            if name.lower() in ("content-length", "transfer-encoding")
        )
        return {
            "status": self.status,
            "headers": kept,
            "framing": [self.framing, *told],
            "close": connection,
            "body": self.body,
        }


class Client:
    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.received = b""
        self.at_end = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            self.at_end = True

    def more(self) -> bool:
        """Read on; False at the end, which may be a reset."""
        if not self.at_end:
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                raise AssertionError(f"nothing came for {PATIENCE:g} s after {self.received!r}") from None
            except OSError:
                data = b""
            self.received += data
            self.at_end = not data
        return not self.at_end

    def until(self, wanted: bytes) -> bytes:
        """Return what came up to `wanted`, with it; all that came if it ended before."""
        while wanted not in self.received:
            if not self.more():
                data, self.received = self.received, b""
                return data
        head, _, self.received = self.received.partition(wanted)
        return head + wanted

    def exactly(self, count: int) -> bytes:
        while len(self.received) < count and self.more():
            pass
        data, self.received = self.received[:count], self.received[count:]
        return data

    def response(self, *, head_only: bool = False) -> Response:
        """Read a response to its end."""
        head = self.until(b"\r\n\r\n")
        if not head:
            return Response("(nothing)")
        status, *lines = head.decode("latin-1").strip().split("\r\n")
        found = Response(status, [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)])
        code = status.split(" ")[1]
        named = {name.lower(): value for name, value in found.headers}
        if head_only or code in ("204", "304") or code[0] == "1":
            return found
        if named.get("transfer-encoding", "").lower().endswith("chunked"):
            found.framing, found.body, whole = "chunked", *self._chunks()
        elif "content-length" in named:
            length = int(named["content-length"])
            found.framing, found.body = "length", self.exactly(length).decode("latin-1")
            whole = len(found.body) == length
        else:
            while self.more():
                pass
            found.framing, found.body, whole = "end", self.received.decode("latin-1"), True
            self.received = b""
        found.framing += "" if whole else ", cut"
        return found

    def _chunks(self) -> tuple[str, bool]:
        data = b""
        while (size := self.until(b"\r\n")) not in (b"0\r\n", b""):
            data += self.exactly(int(size, 16))
            self.exactly(2)
        return data.decode("latin-1"), bool(size and self.until(b"\r\n"))

    def what_follows(self) -> str:
        """Ask once more on this connection: "open" if that is answered, and what else came before that."""
        self.send(FOLLOW_UP)
        if self.received.startswith(b"HTTP/") or self.more():
            return "open" if self.until(b" ").endswith(b" ") and self.until(b" ") == b"200 " else "something else"
        return "closed"


# -- WebSocket ---------------------------------------------------------------------------------------------------------


def handshake(path: str, *headers: str, method: str = "GET", leave_out: tuple[str, ...] = ()) -> bytes:
    lines = {
        "Host": "a",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    kept = [f"{name}: {value}" for name, value in lines.items() if name not in leave_out]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *kept, *headers, "", ""]).encode()


def accept_key() -> str:
    return base64.b64encode(hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()


def frame(opcode: int, data: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    mask = b"\x01\x02\x03\x04"
    length = len(data)
    size = bytes([length]) if length < 126 else struct.pack("!BH", 126, length)
    first = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if not masked:
        return first + size + data
    covered = bytes(octet ^ mask[index % 4] for index, octet in enumerate(data))
    return first + bytes([size[0] | 0x80]) + size[1:] + mask + covered


def text(data: str, **more: Any) -> bytes:
    return frame(1, data.encode(), **more)


def closing(code: int | None = None, reason: str = "") -> bytes:
    return frame(8, b"" if code is None else struct.pack("!H", code) + reason.encode())


def frames(client: Client) -> list[str]:
    """Return all frames up to the end, in words."""
    found = []
    while len(head := client.exactly(2)) == 2:
        length = head[1] & 0x7F
        if length == 126:
            length = struct.unpack("!H", client.exactly(2))[0]
        data = client.exactly(length)
        opcode = head[0] & 0xF
        match opcode:
            case 8:
                code = struct.unpack("!H", data[:2])[0] if data else None
                found.append(f"close {code} {data[2:].decode()}".strip())
                client.send(frame(8, data[:2]))
            case 9 | 10:
                found.append({9: "ping ", 10: "pong "}[opcode] + data.decode("latin-1"))
            case _:
                found.append({1: "text ", 2: "binary ", 0: "rest "}.get(opcode, "?") + data.decode("latin-1"))
    return found
