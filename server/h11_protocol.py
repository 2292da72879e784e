"""HTTP/1.1 with h11, in pure Python, splitting the field lines."""

from __future__ import annotations

import re

import h11

from .connection import HTTPConnection
from .head import Fields, Refusal

# The request line and what the fields mean are judged in head.py. h11 is given a request of HTTP/1.0, in which it asks
# for no Host, and with it no second opinion on one.
_LINE = b"GET / HTTP/1.0\r\n"

_LENGTH_LIST = re.compile(rb"^content-length:[^\r]*,", re.IGNORECASE | re.MULTILINE)


def split_fields(block: bytes) -> Fields:
    """Split the field lines `block`, which ends with an empty line. Raises `Refusal`."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(block) + len(_LINE))
    try:
        connection.receive_data(_LINE + block)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        # Repeated Hosts are for head.py to judge, but h11 sees them first.
        cause = "duplicate Host" if "multiple Host" in str(error) else f"invalid header: {error}"
        raise Refusal(400, cause) from None
    if not isinstance(event, h11.Request):
        raise Refusal(400, "invalid header")
    fields = list(event.headers)
    if len(fields) != block.count(b"\r\n") - 1 or _LENGTH_LIST.search(block):
        # h11 makes one of several lengths that are equal; two programs may not (RFC 9112 6.3).
        raise Refusal(400, "duplicate Content-Length")
    return fields


class H11Protocol(HTTPConnection):
    """One HTTP/1.1 connection; heads are split by h11."""

    __slots__ = ()

    tokenize = staticmethod(split_fields)
