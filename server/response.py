"""The bytes of a response head: status lines and validated header lines. No I/O.

Lines are checked once and then remembered by name and value, whole heads by status and headers, in bounded tables:
applications send the same few again and again. Those that carry credentials are not: they would stay in memory.
RFC 9110 5.1, 5.5 say what a field may hold; a value with CR or LF in it would let whoever chose it write the rest of
the response.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from uvicorn.record import Record

from .head import TOKEN

_NAME = re.compile(TOKEN)
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(rb"[0-9]{1,19}")

STATUS_LINES: dict[int, bytes] = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
    if status >= 200
}

# What the framing of a response depends on, or what replaces a default: never a plain line.
_LENGTH_NAME, _ENCODING, _CONNECTION = b"content-length", b"transfer-encoding", b"connection"
_DEFAULTS = {b"date", b"server"}
_SPECIAL = {_LENGTH_NAME, _ENCODING, _CONNECTION} | _DEFAULTS
_CONFIDENTIAL = {b"set-cookie", b"authorization", b"x-auth-token", b"x-access-token", b"x-csrf-token", b"x-xsrf-token"}

_MAX_REMEMBERED = 1024
_MAX_REMEMBERED_OCTETS = 2048
_lines: dict[tuple[bytes, bytes], bytes] = {}
_heads: dict[tuple[int, tuple[Any, ...]], ResponseHead] = {}


class ResponseHead(Record):
    """What `http.response.start` says, checked and as bytes; framing and defaults are still to be added."""

    __slots__ = ("block", "bodiless", "close", "length", "replaces", "start", "status", "unusual")

    def __init__(
        self,
        status: int,
        start: bytes,
        block: bytes,
        length: int,
        replaces: frozenset[bytes],
        *,
        bodiless: bool,
        close: bool,
    ) -> None:
        self.status = status
        self.start = start  # the status line
        self.block = block  # the application's header lines
        self.length = length  # of the body as declared; -1: not declared, or not to be said
        self.replaces = replaces  # default headers that the application sends itself
        self.bodiless = bodiless  # whatever the application sends (RFC 9110 6.4.1)
        self.close = close  # the application ends the connection
        self.unusual = close or status >= 500  # one look for both


def response_head(status: Any, headers: Iterable[Any]) -> ResponseHead:
    """Check status and headers of an application. Raises RuntimeError, TypeError or ValueError, for it to see."""
    if status.__class__ is not int:
        status = whole_number(status)
    pairs = tuple(headers)
    try:
        known = _heads.get((status, pairs))
    except TypeError:  # lists instead of tuples, say, or what can be changed instead of bytes
        pairs = tuple(tuple(bytes(item) if isinstance(item, bytearray) else item for item in pair) for pair in pairs)
        known = _heads.get((status, pairs))
    if known is not None:
        return known
    result = _response_head(status, pairs)
    if len(result.block) <= _MAX_REMEMBERED_OCTETS and not any(name.lower() in _CONFIDENTIAL for name, _ in pairs):
        if len(_heads) >= _MAX_REMEMBERED:
            _heads.clear()
        _heads[(status, pairs)] = result
    return result


def _response_head(status: int, pairs: tuple[Any, ...]) -> ResponseHead:
    start = STATUS_LINES.get(status) or status_line(status)
    lines: list[bytes] = []
    length = -1
    length_at = 0
    close = chunked = False
    replaces: set[bytes] = set()
    for name, value in pairs:
        line = _lines.get((name, value)) or header_line(name, value)
        lower = name.lower()
        if lower not in _SPECIAL:
            lines.append(line)
        elif lower == _LENGTH_NAME:
            if length < 0:
                length = int(value)
                length_at = len(lines)
                lines.append(line)
            elif length != int(value):
                raise RuntimeError("Invalid HTTP header value. content-length: two that differ")
        elif lower == _ENCODING:
            chunked = True  # whatever it says: the framing is the server's
        elif lower == _CONNECTION:
            if lists_close(value):
                close = True
            elif value.lower() != b"keep-alive":
                lines.append(line)
        else:
            replaces.add(lower)
            lines.append(line)
    if length >= 0 and (chunked or status == 204):
        # RFC 9112 6.2: never beside Transfer-Encoding; RFC 9110 8.6: never in a 204.
        del lines[length_at]
        length = -1
    bodiless = status == 204 or status == 304
    return ResponseHead(status, start, b"".join(lines), length, frozenset(replaces), bodiless=bodiless, close=close)


def whole_number(status: Any) -> int:
    """Return a status that is not plainly an int as one: of an enum, or 200.0, which equals 200 wherever it is kept."""
    if isinstance(status, bool) or not (isinstance(status, int) or (isinstance(status, float) and status.is_integer())):
        raise TypeError(f"Expected 'status' to be an integer, but got {status!r}.")
    return int(status)


def status_line(status: int) -> bytes:
    """Return the status line of a final response. The reason of an unknown status is empty (RFC 9112 4)."""
    if not 200 <= status <= 999:
        raise ValueError(f"Expected 'status' to be from 200 to 999, but got {status}.")
    line = STATUS_LINES.get(status)
    return line if line is not None else b"HTTP/1.1 %d \r\n" % status


def header_line(name: Any, value: Any) -> bytes:
    """Check one header of the application and return its line. Raises RuntimeError or TypeError, for the app to see."""
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        raise TypeError(f"Expected header names and values to be bytes, but got {name!r}: {value!r}.")
    if not _NAME.fullmatch(name):
        raise RuntimeError(f"Invalid HTTP header name. {name!r}")
    lower = name.lower()
    if not _VALUE.fullmatch(value) or (lower == _LENGTH_NAME and not _LENGTH.fullmatch(value)):
        raise RuntimeError(f"Invalid HTTP header value. {name.decode()}: {value!r}")
    line = b"%s: %s\r\n" % (lower, value)
    if len(line) <= _MAX_REMEMBERED_OCTETS and lower not in _CONFIDENTIAL:
        if len(_lines) >= _MAX_REMEMBERED:
            _lines.clear()
        _lines[(name, value)] = line
    return line


def without(headers: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> bytes:
    """Return the block of default headers less those that the application sends itself."""
    return b"".join(b"%s: %s\r\n" % (name, value) for name, value in headers if name.lower() not in names)


def lists_close(value: bytes) -> bool:
    """Whether a Connection header lists `close`, in any case (RFC 9110 7.6.1)."""
    return b"close" in (option.strip(b" \t").lower() for option in value.split(b","))


def refusal_text(status: int) -> bytes:
    """Return the body that goes with the refusal of a request."""
    return b"Invalid HTTP request received." if status == 400 else HTTPStatus(status).phrase.encode()


def short_response(status: int, text: bytes, default_block: bytes, extra: bytes = b"") -> bytes:
    """Return a whole plain-text response that ends its connection; `extra` is header lines."""
    return b"%s%scontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n%s" % (
        status_line(status),
        default_block,
        len(text),
        extra,
        text,
    )


def head_alone(response: bytes) -> bytes:
    """Return a whole response without its content."""
    return response[: response.index(b"\r\n\r\n") + 4]


def body_bytes(body: Any, key: str = "body") -> bytes:
    """Return what an application gave as bytes under `key` of a message. Raises TypeError, for it to see."""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)  # a copy: the application may change it while it waits to be sent
    if body is None:
        return b""  # what some send for nothing, and other servers take
    raise TypeError(f"Expected {key!r} to be bytes, but got {type(body).__name__}.")
