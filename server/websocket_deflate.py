"""permessage-deflate of RFC 7692: what the handshake agrees on, and the two streams of one connection.

Streams are made when the first compressed message comes or goes, so that a connection that sends nothing costs
nothing (a pair of them is some 50 KiB).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import NamedTuple

MAX_WINDOW_BITS = 12
"""Our wish for both windows, and with `_MEMORY_LEVEL` a fifth of zlib's default memory for about the same ratio."""

_MEMORY_LEVEL = 5

_TAIL = b"\x00\x00\xff\xff"
"""What a sync flush ends with; the sender takes it off, the receiver puts it back (RFC 7692 7.2.1, 7.2.2)."""

_APPEND_TAIL_BELOW = 2048
"""Below this a copy with the tail is cheaper than a second call of zlib."""

MAX_ENDS = 1000
"""Blocks with BFINAL in one message, which has at most one per fragment where nobody means harm. Each costs two octets
there, and here a new stream and a copy of what is left."""

_WINDOW_SLACK = 4096
"""Octets beyond the window that are kept before it is cut to size, so that not every small message moves it."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf'[ \t]*({_TOKEN})[ \t]*(?:=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")[ \t]*)?(;|,|\Z)')
_BITS = {str(bits): bits for bits in range(8, 16)}


class ExtensionHeaderError(ValueError):
    """A Sec-WebSocket-Extensions header that is not an extension-list (RFC 6455 9.1)."""


class DeflateError(Exception):
    """The peer's compressed data is none."""


class InflatedTooBig(Exception):
    """A message grew over the limit while it was inflated."""


class Agreement(NamedTuple):
    """What both sides hold to: windows in bits, and who starts each message with an empty one."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15
    header: str = "permessage-deflate"
    """The value of our Sec-WebSocket-Extensions."""


Offer = tuple[str, list[tuple[str, str | None]]]


def parse_extensions(values: Iterable[str]) -> list[Offer]:
    """Return name and parameters of each offered extension, in the client's order of preference."""
    offers: list[Offer] = []
    for value in values:
        position = 0
        new = True
        while position < len(value):
            if new and (blank := re.compile(r"[ \t]*(?:,|\Z)").match(value, position)):
                position = blank.end()  # an empty element of the list (RFC 9110 5.6.1)
                continue
            match = _PARAMETER.match(value, position)
            if match is None:
                raise ExtensionHeaderError(value)
            name, token, quoted, separator = match.groups()
            content = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            if not new:
                offers[-1][1].append((name, content))
            elif content is not None:
                raise ExtensionHeaderError(value)
            else:
                offers.append((name, []))
            position = match.end()
            new = separator == ","
            if separator == ";" and position == len(value):
                raise ExtensionHeaderError(value)
    return offers


def negotiate(offers: Iterable[Offer]) -> Agreement | None:
    """Return what we agree on with the first offer that we can serve; None: no compression (RFC 7692 5.1, 7.1)."""
    for name, parameters in offers:
        if name.lower() == "permessage-deflate":
            agreement = _accept(parameters)
            if agreement is not None:
                return agreement
    return None


def _accept(parameters: list[tuple[str, str | None]]) -> Agreement | None:
    offered = dict(parameters)
    if len(offered) != len(parameters):
        return None
    answer: list[str] = []
    for name in ("server_no_context_takeover", "client_no_context_takeover"):
        if name in offered:
            if offered[name] is not None:
                return None
            answer.append(name)
    server_bits = MAX_WINDOW_BITS
    if "server_max_window_bits" in offered:
        bits = _BITS.get(offered["server_max_window_bits"] or "")
        # zlib cannot compress with a window of 8 bits: https://github.com/madler/zlib/issues/171
        if bits is None or bits == 8:
            return None
        server_bits = min(bits, server_bits)
    answer.append(f"server_max_window_bits={server_bits}")
    client_bits = 15
    if "client_max_window_bits" in offered:
        value = offered["client_max_window_bits"]
        client_bits = MAX_WINDOW_BITS
        if value is not None:
            bits = _BITS.get(value)
            if bits is None:
                return None
            client_bits = min(bits, client_bits)
        answer.append(f"client_max_window_bits={client_bits}")
    known = {
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits",
        "client_max_window_bits",
    }
    if not offered.keys() <= known:
        return None
    return Agreement(
        server_no_context_takeover="server_no_context_takeover" in offered,
        client_no_context_takeover="client_no_context_takeover" in offered,
        server_max_window_bits=server_bits,
        client_max_window_bits=client_bits,
        header="; ".join(["permessage-deflate", *answer]),
    )


class Deflate:
    """The streams of one connection, on the server's side."""

    __slots__ = ("_agreement", "_compressor", "_decompressor", "_ends", "_window")

    def __init__(self, agreement: Agreement) -> None:
        self._agreement = agreement
        self._compressor: zlib._Compress | None = None
        self._decompressor: zlib._Decompress | None = None
        # The last octets that were inflated, at least as many as the client's window has. zlib has them too but gives
        # them to nobody, and forgets them with the end of its stream.
        self._window = bytearray()
        self._ends = 0  # of zlib's stream, in the message that is being inflated

    def deflate(self, payload: bytes) -> bytes:
        """Compress a whole message that is not empty."""
        compressor = self._compressor
        if compressor is None:
            bits = self._agreement.server_max_window_bits
            compressor = zlib.compressobj(wbits=-bits, memLevel=_MEMORY_LEVEL)
            if not self._agreement.server_no_context_takeover:
                self._compressor = compressor
        return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def inflate(self, chunk: bytes, final: bool, limit: int) -> bytes:
        """Inflate the next part of a message to at most `limit` octets; `final` with its last part.

        Raises InflatedTooBig before more than the limit is in memory (1 KiB can hold 1 MiB), and DeflateError.
        """
        try:
            if final and len(chunk) < _APPEND_TAIL_BELOW:
                inflated = self._inflate(chunk + _TAIL, limit)
            else:
                inflated = self._inflate(chunk, limit)
                if final:
                    inflated += self._inflate(_TAIL, limit - len(inflated))
        except zlib.error as error:
            raise DeflateError(str(error)) from None
        if final:
            self._ends = 0
            if self._agreement.client_no_context_takeover:
                self._decompressor = None
                self._window.clear()
        return inflated

    def _inflate(self, data: bytes, limit: int) -> bytes:
        inflated = b""
        while True:
            decompressor = self._decompressor
            if decompressor is None:
                bits = self._agreement.client_max_window_bits
                decompressor = self._decompressor = zlib.decompressobj(wbits=-bits, zdict=bytes(self._window))
            part = decompressor.decompress(data, limit + 1 - len(inflated))
            inflated = inflated + part if inflated else part
            if len(inflated) > limit:
                raise InflatedTooBig
            self._remember(part)
            if not decompressor.eof:
                return inflated
            # A block with BFINAL (RFC 7692 7.2.3.4) ends zlib's stream, but neither the message nor the window, which
            # what follows may refer to.
            self._decompressor = None
            self._ends += 1
            if self._ends > MAX_ENDS:
                raise DeflateError(f"more than {MAX_ENDS} blocks with BFINAL in a message")
            data = decompressor.unused_data

    def _remember(self, part: bytes) -> None:
        window, size = self._window, 1 << self._agreement.client_max_window_bits
        if len(part) >= size:
            window[:] = part[-size:]
            return
        window += part
        if len(window) > size + _WINDOW_SLACK:
            del window[:-size]
