"""A raw HTTP/1.1 client that believes nothing: every read has a deadline, every framing error is an error.

It sends exactly the bytes given to it, which no HTTP library does, and it reads answers by the letter of RFC 9112.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .processes import Running

    Address = str | Path | int | tuple[str, int] | Running

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9]) ([\t \x21-\x7e\x80-\xff]*)")  # RFC 9112 4
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t \x21-\x7e\x80-\xff]*)")  # RFC 9112 5
CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})(;[\t \x21-\x7e\x80-\xff]*)?")  # RFC 9112 7.1
LENGTH = re.compile(rb"[0-9]{1,19}")
LONGEST_LINE = 1 << 20


class WireError(AssertionError):
    """The answer broke a rule of HTTP; the text says which and shows the bytes."""


class Truncated(WireError):
    """The connection ended, by end-of-file or reset, in the middle of an answer or before it."""


@dataclass
class Response:
    status: int
    reason: str
    headers: list[tuple[bytes, bytes]]
    """In order of arrival, names in lower case."""
    body: bytes
    raw: bytes
    """Every octet of this answer, interim ones among them."""
    version: str = "1.1"
    interim: list[Response] = field(default_factory=list)
    """The 1xx answers before it."""
    framing: Literal["length", "chunked", "close", "none"] = "none"
    """What told where the body ends."""
    chunks: list[bytes] = field(default_factory=list)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)

    def get(self, name: str | bytes) -> bytes | None:
        """The value of a header that may occur once; None when it does not occur."""
        values = self.get_all(name)
        if len(values) > 1:
            raise WireError(f"{name!r} occurs {len(values)} times: {values}")
        return values[0] if values else None

    def get_all(self, name: str | bytes) -> list[bytes]:
        wanted = (name.encode() if isinstance(name, str) else name).lower()
        return [value for found, value in self.headers if found == wanted]

    @property
    def connection(self) -> set[bytes]:
        """The options of the Connection headers, in lower case."""
        return {option.strip().lower() for value in self.get_all("connection") for option in value.split(b",")} - {b""}

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow on this connection (RFC 9112 9.3)."""
        if self.framing == "close" or b"close" in self.connection:
            return False
        return self.version == "1.1" or b"keep-alive" in self.connection


class Wire:
    """One connection. A context manager; also usable without."""

    def __init__(self, sock: socket.socket, timeout: float = 30) -> None:
        self.sock = sock
        self.timeout = timeout
        """Seconds that one `read_*` call may take as a whole."""
        self.ended: Literal["eof", "reset"] | None = None
        self._buffer = bytearray()
        self._raw = bytearray()

    @property
    def received(self) -> bool:
        """Whether anything of the answer that is being read has arrived."""
        return bool(self._raw or self._buffer)

    @classmethod
    def connect(
        cls,
        address: Address,
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float = 30,
        server_hostname: str = "localhost",
    ) -> Wire:
        """Connect to a started server, a port of 127.0.0.1, a (host, port), or the path of a UNIX socket."""
        target = getattr(address, "address", address)
        if isinstance(target, int):
            target = ("127.0.0.1", target)
        if isinstance(target, tuple):
            sock = socket.create_connection(target, timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(timeout)
            try:
                sock.connect(str(target))
            except BaseException:
                sock.close()
                raise
        if tls is not None:
            try:
                sock = tls.wrap_socket(sock, server_hostname=server_hostname)
            except BaseException:
                sock.close()
                raise
        return cls(sock, timeout)

    def send(self, data: bytes) -> None:
        """Send all of it; waits at most `timeout` seconds for room."""
        self.sock.settimeout(self.timeout)
        self.sock.sendall(data)

    def request(self, data: bytes, method: str = "GET") -> Response:
        """Send and read one answer."""
        self.send(data)
        return self.read_response(method)

    # -- reading --

    def _fill(self, deadline: float, waited_for: str) -> bool:
        """Read more into the buffer; False at the end of the connection, TimeoutError at the deadline."""
        if self.ended:
            return False
        left = deadline - time.monotonic()
        if left > 0:
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                pass
            except (ConnectionResetError, BrokenPipeError):
                self.ended = "reset"
                return False
            except ssl.SSLError as error:
                if error.reason not in ("UNEXPECTED_EOF_WHILE_READING", "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"):
                    raise
                self.ended = "eof"
                return False
            else:
                if not data:
                    self.ended = "eof"
                self._buffer += data
                return bool(data)
        raise TimeoutError(f"waited {self.timeout} s for {waited_for}; unread so far: {bytes(self._buffer[:500])!r}")

    def _need(self, deadline: float, waited_for: str) -> None:
        if not self._fill(deadline, waited_for):
            raise Truncated(f"{self.ended} instead of {waited_for}; unread so far: {bytes(self._buffer[:500])!r}")

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._raw += data
        return data

    def _line(self, deadline: float, waited_for: str) -> bytes:
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            if start > LONGEST_LINE:
                raise WireError(f"{waited_for} of more than {LONGEST_LINE} octets")
            self._need(deadline, waited_for)
        line = self._take(end + 1)
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise WireError(f"{waited_for} does not end with CR LF alone: {line!r}")
        return line[:-2]

    def _fields(self, deadline: float, waited_for: str) -> list[tuple[bytes, bytes]]:
        fields = []
        while line := self._line(deadline, waited_for):
            match = FIELD_LINE.fullmatch(line)
            if match is None:
                raise WireError(f"invalid {waited_for}: {line!r}")
            fields.append((match[1].lower(), match[2].rstrip(b" \t")))
        return fields

    def _octets(self, size: int, deadline: float, waited_for: str) -> bytes:
        while len(self._buffer) < size:
            self._need(deadline, waited_for)
        return self._take(size)

    def read_response(self, method: str = "GET", timeout: float | None = None) -> Response:
        """Read one final answer to a request of this method, with the interim answers before it.

        Raises WireError where the answer breaks RFC 9110 or 9112, Truncated where it ends early, TimeoutError.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        self._raw = bytearray()
        interim: list[Response] = []
        while True:
            response = self._head(deadline)
            if response.status >= 200 or response.status == 101:
                break
            response.raw = bytes(self._raw)
            interim.append(response)
        response.interim = interim
        self._body(response, method, deadline)
        response.raw = bytes(self._raw)
        return response

    def _head(self, deadline: float) -> Response:
        line = self._line(deadline, "status line")
        match = STATUS_LINE.fullmatch(line)
        if match is None:
            raise WireError(f"invalid status line: {line!r}")
        headers = self._fields(deadline, "header field")
        status = int(match[2])
        return Response(status, match[3].decode("latin-1"), headers, b"", b"", version=f"1.{match[1].decode()}")

    def _body(self, response: Response, method: str, deadline: float) -> None:
        lengths, codings = response.get_all("content-length"), response.get_all("transfer-encoding")
        if lengths and codings:
            raise WireError(f"both Content-Length {lengths} and Transfer-Encoding {codings}")  # RFC 9112 6.2
        if len(lengths) > 1 or len(codings) > 1:
            raise WireError(f"repeated framing header: {lengths or codings}")
        if (response.status < 200 or response.status == 204) and (lengths or codings):
            raise WireError(f"{response.status} with {(lengths + codings)[0]!r}")  # RFC 9110 8.6, RFC 9112 6.1
        if codings and response.version == "1.0":
            raise WireError(f"Transfer-Encoding {codings} in an HTTP/1.0 answer")
        if lengths and not LENGTH.fullmatch(lengths[0]):
            raise WireError(f"invalid Content-Length {lengths[0]!r}")
        if codings and codings[0].lower() != b"chunked":
            raise WireError(f"unexpected Transfer-Encoding {codings[0]!r}")
        if method == "HEAD" or response.status in (204, 304) or response.status < 200:
            return
        if codings:
            response.framing = "chunked"
            self._chunks(response, deadline)
        elif lengths:
            response.framing = "length"
            response.body = self._octets(int(lengths[0]), deadline, f"body of {int(lengths[0])} octets")
        else:
            response.framing = "close"
            while self._fill(deadline, "end of connection"):
                pass
            if self.ended == "reset":
                raise Truncated(f"reset in a body that ends with the connection: {bytes(self._buffer[:500])!r}")
            response.body = self._take(len(self._buffer))

    def _chunks(self, response: Response, deadline: float) -> None:
        while True:
            line = self._line(deadline, "chunk size")
            match = CHUNK_SIZE.fullmatch(line)
            if match is None:
                raise WireError(f"invalid chunk size line: {line!r}")
            size = int(match[1], 16)
            if size == 0:
                break
            chunk = self._octets(size + 2, deadline, f"chunk of {size} octets")
            if not chunk.endswith(b"\r\n"):
                raise WireError(f"chunk of {size} octets does not end with CR LF but {chunk[-2:]!r}")
            response.chunks.append(chunk[:-2])
        response.body = b"".join(response.chunks)
        response.trailers = self._fields(deadline, "trailer field")

    def read_until_close(self, timeout: float | None = None) -> bytes:
        """Return all octets until the peer closes; `ended` tells whether by end-of-file or by reset."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while self._fill(deadline, "end of connection"):
            pass
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def read_exactly(self, size: int) -> bytes:
        """Return the next `size` octets, whatever they are."""
        self._raw = bytearray()
        return self._octets(size, time.monotonic() + self.timeout, f"{size} octets")

    def read_some(self) -> bytes:
        """Return what has arrived, at least one octet; b"" at the end of the connection."""
        if not self._buffer:
            self._fill(time.monotonic() + self.timeout, "any octet")
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def is_closed(self, within: float | None = None) -> Literal["eof", "reset"] | None:
        """Say how the peer closed; None: it is open after `within` seconds, by default the timeout. Keeps what arrives.

        Name the seconds where the connection is to stay open; where it is to end, the default is for slow machines.
        """
        deadline = time.monotonic() + (self.timeout if within is None else within)
        try:
            while self._fill(deadline, "end of connection"):
                pass
        except TimeoutError:
            return None
        return self.ended

    def is_readable(self) -> bool:
        """Whether octets or the end of the connection have arrived already."""
        if self._buffer or self.ended is not None:
            return True
        poll = select.poll()  # select() fails where there are more than a thousand descriptors
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    # -- ending --

    def half_close(self) -> None:
        """Say that nothing more will be sent; answers can still be read. Not for TLS."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset instead of an end-of-file."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
