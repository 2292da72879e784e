"""Small facts about a peer, a transport and a scope that several parts of the server ask for."""

from __future__ import annotations

import asyncio
import os
from array import array
from collections.abc import Mapping
from contextlib import suppress
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any
from urllib.parse import quote


class ClientDisconnected(OSError):
    """The client has gone: what `send` raises in a WebSocket application then."""


def get_remote_addr(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    """Return host and port of the peer; None over a UNIX socket, or when the peer left before it was asked."""
    address = transport.get_extra_info("peername")
    if address.__class__ is tuple and len(address) == 2:
        return address  # IPv4: nearly all, and asked for at each connection
    if address is None and (sock := transport.get_extra_info("socket")) is not None:
        try:
            address = sock.getpeername()
        except OSError:
            return None
    if isinstance(address, (list, tuple)) and len(address) >= 2:  # IPv6 adds flow and scope ids
        return str(address[0]), int(address[1])
    return None


def get_local_addr(transport: asyncio.BaseTransport) -> tuple[str, int | None] | None:
    """Return host and port that the peer connected to; (path, None) for a UNIX socket; None when it is not known."""
    address = transport.get_extra_info("sockname")
    if address.__class__ is tuple and len(address) == 2:
        return address
    if address is None and (sock := transport.get_extra_info("socket")) is not None:
        try:
            address = sock.getsockname()
        except OSError:
            return None
    if isinstance(address, (list, tuple)) and len(address) >= 2:
        return str(address[0]), int(address[1])
    if isinstance(address, (str, bytes)) and address:
        return os.fsdecode(address), None
    return None


def is_ssl(transport: asyncio.BaseTransport) -> bool:
    """Say whether the connection is encrypted."""
    return bool(transport.get_extra_info("sslcontext"))


def end_writing(transport: asyncio.Transport) -> None:
    """Close our direction of a connection. A transport of asyncio raises where the client has reset it just now."""
    try:
        transport.write_eof()
    except OSError:
        transport.abort()


def untaken(transport: asyncio.WriteTransport) -> int:
    """Return how many octets the client has not taken yet, those in the kernel's send queue among them (tcp(7)).

    The kernel calls a socket writable again when a third of its queue is free, megabytes later: a client that reads
    slowly is told from one that does not read only by what the queue holds.
    """
    sock = transport.get_extra_info("socket")
    queued = array("i", [0])
    if sock is not None:
        with suppress(OSError, ValueError):  # closed
            ioctl(sock.fileno(), TIOCOUTQ, queued)
    return transport.get_write_buffer_size() + queued[0]


def get_client_addr(scope: Mapping[str, Any]) -> str:
    """Return the client as `host:port`; empty when it has no address (UNIX socket)."""
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""


def get_path_with_query_string(scope: Mapping[str, Any]) -> str:
    """Return path and query as they are logged: ASCII, the decoded path quoted again."""
    path = quote(scope["path"])
    query = scope["query_string"]
    return f"{path}?{printable_query(query)}" if query else path


def printable_query(query: bytes) -> str:
    """Return the query as text, byte for byte where it is printable ASCII and percent-encoded where it is not."""
    text = query.decode("latin-1")
    if text.isascii() and text.isprintable():
        return text
    return quote(query, safe="".join(map(chr, range(0x21, 0x7F))))
