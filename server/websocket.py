"""What a WebSocket connection may do: the rules of the handshake, of the ASGI messages in each state, and of closing.

No I/O and no frames here: those are in `websocket_protocol` (the shell) and `websocket_frames` (the wire).

    CONNECTING -- websocket.accept --------------> OPEN -- websocket.close --> CLOSED
        |      -- websocket.close (403) ---------------------------------------^
        '----- websocket.http.response.start ----> DENYING -- last body -------'

That is the application's side. The peer may leave in any of these states, which the shell keeps beside it.

Specifications: RFC 6455 (numbers in brackets are its sections), RFC 7692 for compression, ASGI 3.0 `websocket` 2.4.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from .head import TOKEN, Fields, Head
from .response import body_bytes, header_line, response_head, without
from .websocket_deflate import Agreement, ExtensionHeaderError, negotiate, parse_extensions
from .websocket_frames import NO_STATUS, is_sendable

GOING_TO_RESTART = 1012
"""The close code of a worker that retires and of a server that stops: come again, elsewhere or later."""

SERVER_FAILED = 1011

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # [1.3]
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")  # base64 of 16 octets [4.1]
_UPGRADE = b"upgrade: websocket\r\nconnection: upgrade\r\n"  # goes with 426 (RFC 9110 15.5.22, 7.8)
_TOKEN_TEXT = re.compile(TOKEN.decode())
_SHOWN = 100  # characters of a wrong header


# -- The handshake --


class Handshake(NamedTuple):
    """A request that may become a WebSocket: what the answer needs of it."""

    accept: bytes
    """The value of Sec-WebSocket-Accept."""
    subprotocols: list[str]
    agreement: Agreement | None
    """On compression; None: there is none."""


class Refused(NamedTuple):
    """A request that cannot become a WebSocket: the status to answer with, why, and header lines for the answer."""

    status: int
    cause: str
    headers: bytes = b""

    @property
    def text(self) -> bytes:
        return f"Failed to open a WebSocket connection: {self.cause}.\n".encode()


def read_handshake(head: Head, *, deflate: bool) -> Handshake | Refused:
    """Judge a request that asks for the upgrade (4.2.1). `deflate` says whether compression may be agreed on."""
    if head.method != "GET":
        return Refused(405, f"unsupported HTTP method: {head.method}", b"allow: GET\r\n")
    if not head.is_websocket:
        return Refused(426, "missing Upgrade header", _UPGRADE)
    if head.length:
        # What follows the head are frames. A body there is a message that two programs could frame differently.
        return Refused(400, "unsupported request body")
    keys, versions, protocols, extensions = _websocket_fields(head.fields)
    if not versions or len(versions) > 1:
        cause = "multiple" if versions else "missing"
        return Refused(400, f"{cause} Sec-WebSocket-Version header", b"sec-websocket-version: 13\r\n")
    if versions[0] != "13":
        cause = f"unsupported Sec-WebSocket-Version header: {_shown(versions[0])}"
        return Refused(426, cause, b"sec-websocket-version: 13\r\n" + _UPGRADE)  # [4.4]
    if len(keys) != 1:
        return Refused(400, f"{'multiple' if keys else 'missing'} Sec-WebSocket-Key header")
    if not _is_key(keys[0]):
        return Refused(400, f"invalid Sec-WebSocket-Key header: {_shown(keys[0])}")
    subprotocols = [name for value in protocols for element in value.split(",") if (name := element.strip(" \t"))]
    if not all(map(_TOKEN_TEXT.fullmatch, subprotocols)):
        return Refused(400, f"invalid Sec-WebSocket-Protocol header: {_shown(', '.join(protocols))}")
    agreement = None
    if deflate and extensions:
        try:
            agreement = negotiate(parse_extensions(extensions))
        except ExtensionHeaderError:
            return Refused(400, f"invalid Sec-WebSocket-Extensions header: {_shown(', '.join(extensions))}")
    return Handshake(accept_value(keys[0].encode()), subprotocols, agreement)


def _websocket_fields(fields: Fields) -> tuple[list[str], list[str], list[str], list[str]]:
    keys: list[str] = []
    versions: list[str] = []
    protocols: list[str] = []
    extensions: list[str] = []
    found = {
        b"sec-websocket-key": keys,
        b"sec-websocket-version": versions,
        b"sec-websocket-protocol": protocols,
        b"sec-websocket-extensions": extensions,
    }
    for name, value in fields:
        values = found.get(name)
        if values is not None:
            values.append(value.decode("latin-1"))
    return keys, versions, protocols, extensions


def _shown(value: str) -> str:
    """Return what a client sent as it may stand in a log: a start of it, without what a terminal could obey."""
    shown = value[:_SHOWN].encode("ascii", "backslashreplace").decode()
    return shown + "..." if len(value) > _SHOWN else shown


def _is_key(text: str) -> bool:
    try:
        return _KEY.fullmatch(text) is not None and len(base64.b64decode(text, validate=True)) == 16
    except binascii.Error:
        return False


def accept_value(key: bytes) -> bytes:
    """Return Sec-WebSocket-Accept for a Sec-WebSocket-Key (4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


# What belongs to the server in the answer to a handshake: an application's header of that name is left out.
_OURS_IN_ACCEPT = {
    b"upgrade",
    b"connection",
    b"content-length",
    b"transfer-encoding",
    b"sec-websocket-accept",
    b"sec-websocket-extensions",
}


def accept_response(
    handshake: Handshake,
    defaults: Sequence[tuple[bytes, bytes]],
    headers: Iterable[Iterable[bytes]],
    subprotocol: str | None,
) -> bytes:
    """Return the 101 response. `headers` are the application's, which replace Date and Server among `defaults`."""
    lines = []
    names = set()
    for name, value in headers:
        line = header_line(name, value)
        lower = name.lower()
        if lower in _OURS_IN_ACCEPT or (lower == b"sec-websocket-protocol" and subprotocol is not None):
            continue
        names.add(lower)
        lines.append(line)
    if subprotocol is not None:
        if not isinstance(subprotocol, str) or not _TOKEN_TEXT.fullmatch(subprotocol):
            raise RuntimeError(f"Expected 'subprotocol' to be a token, but got {subprotocol!r}.")
        lines.append(b"Sec-WebSocket-Protocol: %s\r\n" % subprotocol.encode())
    agreement = handshake.agreement
    return b"".join(
        [
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
            b"Sec-WebSocket-Accept: %s\r\n" % handshake.accept,
            b"Sec-WebSocket-Extensions: %s\r\n" % agreement.header.encode() if agreement else b"",
            without(defaults, frozenset(names & {b"date", b"server"})),
            *lines,
            b"\r\n",
        ]
    )


# -- The scope --


def build_scope(
    head: Head,
    *,
    asgi_version: str,
    scheme: str,
    server: tuple[str, int | None] | None,
    client: tuple[str, int] | None,
    subprotocols: list[str],
    state: dict[str, Any],
) -> dict[str, Any]:
    """Return the ASGI scope of a handshake; all of its containers are the application's own."""
    scope = head.scope.copy()
    del scope["method"]
    scope["type"] = "websocket"
    scope["asgi"] = {"version": asgi_version, "spec_version": "2.4"}
    scope["scheme"] = scheme
    scope["server"] = server
    scope["client"] = client
    scope["headers"] = head.fields.copy()
    scope["subprotocols"] = subprotocols
    scope["state"] = state
    scope["extensions"] = {"websocket.http.response": {}}
    return scope


# -- What the application may send --


class AppState(enum.Enum):
    """The connection as the application left it."""

    CONNECTING = enum.auto()
    DENYING = enum.auto()
    OPEN = enum.auto()
    CLOSED = enum.auto()


_EXPECTED: Final = {
    AppState.CONNECTING: (
        {"websocket.accept", "websocket.close", "websocket.http.response.start"},
        "Expected ASGI message 'websocket.accept', 'websocket.close' or 'websocket.http.response.start' but got '%s'.",
    ),
    AppState.DENYING: (
        {"websocket.http.response.body"},
        "Expected ASGI message 'websocket.http.response.body' but got '%s'.",
    ),
    AppState.OPEN: (
        {"websocket.send", "websocket.close"},
        "Expected ASGI message 'websocket.send' or 'websocket.close', but got '%s'.",
    ),
    AppState.CLOSED: (set[str](), "Unexpected ASGI message '%s', after sending 'websocket.close'."),
}


def check_message(state: AppState, kind: str) -> None:
    """Raise RuntimeError, for the application to see, when it must not send a message of this type now."""
    legal, text = _EXPECTED[state]
    if kind not in legal:
        raise RuntimeError(text % kind)


def check_close(code: Any, reason: Any) -> tuple[int, str]:
    """Return code and reason of `websocket.close`. 1005 means to send none, which is what a peer without one gave."""
    if code is None:
        code = 1000
    if not isinstance(code, int) or not (is_sendable(code) or code == NO_STATUS):
        raise RuntimeError(f"Expected a close code of 1000-1003, 1007-1014 or 3000-4999, but got {code!r}.")
    if reason is None:
        reason = ""
    if not isinstance(reason, str):
        raise TypeError(f"Expected the close reason to be a string, but got {reason!r}.")
    return int(code), "" if code == NO_STATUS else reason


class Denial:
    """A refusal with a response of the application's own (ASGI extension `websocket.http.response`), streamed.

    Head and first piece of the body leave together: a body in one piece gets its length, a longer one is chunked. The
    connection ends with it.
    """

    def __init__(self, message: dict[str, Any], defaults: Sequence[tuple[bytes, bytes]]) -> None:
        status = message["status"]
        if not isinstance(status, int) or not 200 <= status <= 599:
            raise RuntimeError(f"Invalid HTTP status code '{status}' in response.")
        head = response_head(int(status), message.get("headers") or ())
        self.status = head.status
        self._bodiless = head.bodiless
        self._length: int | None = head.length if head.length >= 0 else None
        self._chunked = False
        self._sent = 0
        # None once it is sent
        self._head: bytes | None = b"".join(
            [head.start, without(defaults, head.replaces), head.block, b"connection: close\r\n"]
        )

    @property
    def untouched(self) -> bool:
        """Whether nothing of the response was given out yet."""
        return self._head is not None

    def body(self, message: dict[str, Any]) -> tuple[bytes, bool]:
        """Return the next bytes, and whether they are the last."""
        body = body_bytes(message.get("body"))
        more = bool(message.get("more_body", False))
        if self._bodiless:
            body = b""
        self._sent += len(body)
        if self._length is not None and not self._bodiless:
            if self._sent > self._length:
                raise RuntimeError("Response content longer than Content-Length")
            if not more and self._sent < self._length:
                raise RuntimeError("Response content shorter than Content-Length")
        head, self._head = self._head, None
        if head is None:
            framing = b""
        elif self._bodiless or self._length is not None:
            framing = b"\r\n"
        elif more:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n\r\n"
        else:
            framing = b"content-length: %d\r\n\r\n" % len(body)
        if self._chunked:
            body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        return b"".join([head or b"", framing, body]), not more


def phrase(status: int) -> str:
    """Return the reason phrase of a status, empty for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
