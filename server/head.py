"""Read one request head: bytes up to and including the empty line in, a `Head` or a `Refusal` out. No I/O.

Who decides what:
- this file finds the request line and judges what the fields *mean* (Host, framing, persistence, expectations), the
  same for every tokenizer, so that all of them behave alike;
- a tokenizer (`httptools_protocol`, `h11_protocol`) splits the field lines and refuses what is no field line.

A head that was read once is remembered by its bytes, in a bounded table: keep-alive clients, health checks, proxies and
polling browsers repeat theirs to the octet, and an equal head can only mean the same. Nothing is skipped by that: only
heads that passed every check are remembered. A head that carries credentials is remembered for its connection alone and
forgotten with it: they do not stay in memory when the client has gone.

Rules: RFC 9112 (HTTP/1.1) and RFC 9110 (semantics). Where they leave room, the strict side is taken: a message that two
programs could frame differently is refused, not repaired.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from uvicorn.record import Record

Fields = list[tuple[bytes, bytes]]
Tokenizer = Callable[[bytes], Fields]
"""Field lines with the closing empty line in, (lower-case name, value without the white space around it) out."""

CHUNKED = -1
"""`Head.length` of a body whose end is told by its last chunk."""

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

# RFC 9112 3: request-line = method SP request-target SP HTTP-version. A target is visible US-ASCII without "#": real
# clients send characters that RFC 3986 wants encoded (| [ {), which can be mistaken for nothing else.
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21\x22\x24-\x7e]+) HTTP/([0-9])\.([0-9])")

# RFC 9112 3.2.2, absolute-form; only what an origin server can be asked for.
_ABSOLUTE = re.compile(rb"https?://([^/?@]+)(/[^?]*)?(?:\?(.*))?", re.IGNORECASE)

# RFC 9110 7.2 and RFC 3986 3.2: uri-host [":" port]. reg-name is unreserved, pct-encoded or sub-delims.
_HOST = re.compile(rb"(?:\[[0-9a-fA-F:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9a-fA-F]{2})*)(?::[0-9]*)?")

# RFC 9110 8.6, and a bound: 19 digits hold every length that exists, 20 begin to overflow what others parse it into.
_LENGTH = re.compile(rb"[0-9]{1,19}")

# What no head holds: control characters, a CR or LF alone, folded lines (RFC 9112 2.2, 5.2).
_MALFORMED = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n|\r\n[ \t]")
_MALFORMED_SO_FAR = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?=[^\n])|(?<!\r)\n|\r\n[ \t]")

_MAX_EMPTY_LINES = 4  # before a request line; RFC 9112 2.2 asks for one, old clients send CRLF after a body


class Refusal(Exception):
    """The request cannot be served as it came: the status to answer with and the cause for the log."""

    def __init__(self, status: int, cause: str) -> None:
        super().__init__(f"{cause} ({status})")
        self.status = status
        self.cause = cause


class Limits(NamedTuple):
    """How large a head may be, in octets (`fields`: how many field lines)."""

    line: int = 8190
    field: int = 16384
    head: int = 65536
    fields: int = 100


class Head(Record):
    """A request head that passed every check."""

    __slots__ = (
        "confidential",
        "expects_continue",
        "fields",
        "forwarded",
        "keep_alive",
        "length",
        "method",
        "name",
        "scope",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        *,
        method: str,
        version: str,
        fields: Fields,
        length: int,
        keep_alive: bool,
        expects_continue: bool,
        upgrade: bytes,
        forwarded: bool,
        confidential: bool,
        name: str,
        scope: dict[str, Any],
    ) -> None:
        self.method = method
        self.version = version  # "1.0" or "1.1"
        self.fields = fields
        self.length = length  # of the body, in octets; CHUNKED; 0: there is none
        self.keep_alive = keep_alive  # what the client asked for; RFC 9112 9.3
        self.expects_continue = expects_continue
        self.upgrade = upgrade  # lower-case, when Connection lists it; else b""
        self.forwarded = forwarded  # a proxy's header is among the fields
        self.confidential = confidential  # credentials are among the fields
        self.name = name  # of the task that answers it, for who looks at the tasks of the loop
        self.scope = scope  # what the ASGI scope of every such request says; to be copied

    @property
    def is_websocket(self) -> bool:
        """Whether the client asks to speak WebSocket from here on (RFC 6455 4.1)."""
        return self.upgrade == b"websocket" and self.version == "1.1"


def skip_empty_lines(data: bytes) -> int:
    """Return where the request line begins; raises `Refusal` on a flood of empty lines (RFC 9112 2.2)."""
    start = 0
    while data.startswith(b"\r\n", start):
        start += 2
        if start > 2 * _MAX_EMPTY_LINES:
            raise Refusal(400, "empty lines instead of a request")
    return start


def check_unfinished(data: bytes, limits: Limits, seen: int = 0) -> None:
    """Raise `Refusal` if the beginning of a head can no longer become a good one.

    So that a flood or a client that speaks something else is answered at once, and not after the header time-out.
    `seen`: how many octets of it were checked before; a head that comes octet by octet is not read anew each time.
    """
    start = skip_empty_lines(data)
    if _MALFORMED_SO_FAR.search(data, max(start, seen - 2)):
        raise Refusal(400, "control character, bare CR or LF, or folded line in the head")
    size = len(data) - data.endswith(b"\r")  # that may be the first half of a line's end
    end = data.find(b"\r\n", start)
    if end < 0:
        _check_line_length(size - start, limits)
        return
    if end >= seen - 1:
        _check_line_length(end - start, limits)
        _request_line(data[start:end])
    if size - start > limits.head:
        raise Refusal(431, f"head over {limits.head} octets")
    if size - data.rfind(b"\r\n") - 2 > limits.field:
        raise Refusal(431, f"field over {limits.field} octets")
    if data.find(b"\n", seen) >= 0:
        _check_field_count(data.count(b"\r\n", end + 2), limits)


LONGEST_REMEMBERED = 4096
"""Octets of a head that is remembered. What is longer need not be looked up: it would be hashed for nothing."""


class HeadReader:
    """Reads heads with one tokenizer, and remembers them. One a server; used in its loop's thread only."""

    _MAX_REMEMBERED = 512

    def __init__(self, tokenize: Tokenizer, limits: Limits, root_path: str = "") -> None:
        self._tokenize = tokenize
        self.limits = limits
        self._root = root_path
        self._raw_root = root_path.encode("utf-8")
        self.remembered: dict[bytes, Head] = {}
        self.confided: dict[object, tuple[bytes, Head]] = {}
        """The last head with credentials of a connection, which takes it out when it ends."""

    def read(self, head: bytes, connection: object = None) -> Head:
        """Return what `head` says; it begins at the request line and ends with the empty line. Raises `Refusal`."""
        known = self.remembered.get(head)
        if known is not None:
            return known
        result = self._read(head)
        if len(head) <= LONGEST_REMEMBERED:
            # Clearing costs less than keeping an order of use, and what repeats is back at once.
            if not result.confidential:
                if len(self.remembered) >= self._MAX_REMEMBERED:
                    self.remembered.clear()
                self.remembered[head] = result
            elif connection is not None:
                if len(self.confided) >= self._MAX_REMEMBERED:
                    self.confided.clear()
                self.confided[connection] = (head, result)
        return result

    def _read(self, head: bytes) -> Head:
        limits = self.limits
        end = head.find(b"\r\n")
        _check_line_length(end, limits)
        if len(head) > limits.head:
            raise Refusal(431, f"head over {limits.head} octets")
        block = head[end + 2 :]
        _check_field_count(block.count(b"\r\n") - 1, limits)
        if len(block) > limits.field and max(map(len, block.split(b"\r\n"))) > limits.field:
            raise Refusal(431, f"field over {limits.field} octets")
        if _MALFORMED.search(head):
            raise Refusal(400, "control character, bare CR or LF, or folded line in the head")
        method, target, version = _request_line(head[:end])
        raw_path, query, authority = _split_target(method, target)
        return self._judge(method, raw_path, query, authority, version, self._tokenize(block))

    def _judge(
        self, method: str, raw_path: bytes, query: bytes, authority: bytes, version: str, fields: Fields
    ) -> Head:
        hosts = lengths = 0
        length = 0
        encodings: list[bytes] = []
        connection: set[bytes] = set()
        upgrade = b""
        expects_continue = unknown_expectation = forwarded = confidential = False
        for index, (name, value) in enumerate(fields):
            kind = _KINDS.get(name)
            if kind is None:
                forwarded = forwarded or name.startswith(b"x-forwarded-")
            elif kind == "host":
                hosts += 1
                if not _HOST.fullmatch(value):
                    raise Refusal(400, "invalid Host")
                if authority:  # RFC 9112 3.2.2: the target's authority replaces what Host says
                    fields[index] = (name, authority)
            elif kind == "length":
                lengths += 1
                if not _LENGTH.fullmatch(value):
                    raise Refusal(400, "invalid Content-Length")
                length = int(value)
            elif kind == "encoding":
                encodings.append(value.lower())
                fields[index] = (name, value.lower())  # a token without case (RFC 9112 7); some tokenizers lower it
            elif kind == "connection":
                connection.update(option.strip(b" \t").lower() for option in value.split(b","))
            elif kind == "upgrade":
                upgrade = value.lower()
            elif kind == "expect":
                unknown_expectation = unknown_expectation or value.lower() != b"100-continue"
                expects_continue = version == "1.1"  # RFC 9110 10.1.1: ignored in a request of HTTP/1.0
            elif kind == "confidential":
                confidential = True
            else:
                forwarded = True
        if hosts > 1:
            raise Refusal(400, "duplicate Host")
        if not hosts and version == "1.1":
            raise Refusal(400, "missing Host")
        if lengths > 1:  # both tokenizers refuse them before; what frames a message is not left to others alone
            raise Refusal(400, "duplicate Content-Length")
        if encodings:
            # RFC 9112 6.1, 6.3. A length beside it is how smuggling begins: refused, not ranked.
            if lengths:
                raise Refusal(400, "Content-Length with Transfer-Encoding")
            if version == "1.0":
                raise Refusal(400, "Transfer-Encoding in HTTP/1.0")
            if encodings != [b"chunked"]:
                raise Refusal(400, "Transfer-Encoding other than chunked")
            length = CHUNKED
        if unknown_expectation:
            raise Refusal(417, "unknown expectation")
        close = b"close" in connection
        scope = {
            "type": "http",
            "http_version": version,
            "method": method,
            "root_path": self._root,
            "path": self._root + (_unquote(raw_path) if b"%" in raw_path else raw_path.decode("ascii")),
            "raw_path": self._raw_root + raw_path,
            "query_string": query,
        }
        return Head(
            method=method,
            name=f"{method} {raw_path.decode('ascii')}",
            scope=scope,
            version=version,
            fields=fields,
            length=length,
            keep_alive=not close if version == "1.1" else b"keep-alive" in connection and not close,
            expects_continue=expects_continue and length != 0,
            upgrade=upgrade if b"upgrade" in connection else b"",
            forwarded=forwarded,
            confidential=confidential,
        )


_KINDS = {
    b"host": "host",
    b"content-length": "length",
    b"transfer-encoding": "encoding",
    b"connection": "connection",
    b"upgrade": "upgrade",
    b"expect": "expect",
    b"forwarded": "forwarded",
    # RFC 9110 11.6.2, 11.7.2, RFC 6265 4.2, and what is used in their place.
    b"authorization": "confidential",
    b"proxy-authorization": "confidential",
    b"cookie": "confidential",
    b"x-api-key": "confidential",
    b"x-auth-token": "confidential",
    b"x-access-token": "confidential",
    b"x-csrf-token": "confidential",
    b"x-xsrf-token": "confidential",
    b"x-amz-security-token": "confidential",
}


def _check_line_length(length: int, limits: Limits) -> None:
    if length > limits.line:
        raise Refusal(414, f"request line over {limits.line} octets")


def _check_field_count(count: int, limits: Limits) -> None:
    if count > limits.fields:
        raise Refusal(431, f"more than {limits.fields} fields")


def _request_line(line: bytes) -> tuple[str, bytes, str]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise Refusal(400, "invalid request line")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise Refusal(400, f"unsupported version HTTP/{major.decode()}.{minor.decode()}")
    # RFC 9110 2.5: a higher minor version is answered as the highest that we speak.
    return method.decode("ascii"), target, "1.0" if minor == b"0" else "1.1"


def _split_target(method: str, target: bytes) -> tuple[bytes, bytes, bytes]:
    """Return (path, query, authority or b"") of a request-target (RFC 9112 3.2)."""
    if method == "CONNECT":
        raise Refusal(400, "CONNECT to a server that is no proxy")
    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
        return path, query, b""
    if target == b"*" and method == "OPTIONS":
        return target, b"", b""
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not _HOST.fullmatch(match[1]):
        raise Refusal(400, "invalid request target")
    return match[2] or (b"*" if method == "OPTIONS" and match[3] is None else b"/"), match[3] or b"", match[1]


def _unquote(raw_path: bytes) -> str:
    return unquote_to_bytes(raw_path).decode("utf-8", "replace")
