"""HTTP/1.1 with llhttp, the parser of Node.js, splitting the field lines (package httptools)."""

from __future__ import annotations

import re

import httptools

from .connection import HTTPConnection
from .head import Fields, Refusal

# The request line is judged in head.py; llhttp is given one that it has no opinion on.
_LINE = b"GET / HTTP/1.1\r\n"

_TRAILING = re.compile(rb"[ \t]+\r\n")  # RFC 9110 5.5: no part of the value


class _Sink:
    """Collects what the parser calls back with."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: Fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))


def split_fields(block: bytes) -> Fields:
    """Split the field lines `block`, which ends with an empty line. Raises `Refusal`."""
    # A new parser each time costs 0.3 us, and no head can inherit the state in which another left it.
    sink = _Sink()
    if b"\t" in block:
        # llhttp takes only blanks for white space around a value, and calls "chunked\t" an unknown coding.
        block = _TRAILING.sub(b"\r\n", block)
    try:
        httptools.HttpRequestParser(sink).feed_data(_LINE + block)
    except httptools.HttpParserUpgrade:
        pass  # llhttp stops behind the head, which is all that it was given
    except httptools.HttpParserError as error:
        raise Refusal(400, f"invalid header: {error}") from None
    return sink.fields


class HttpToolsProtocol(HTTPConnection):
    """One HTTP/1.1 connection; heads are split by httptools."""

    __slots__ = ()

    tokenize = staticmethod(split_fields)
