"""Large messages are read into a buffer that all connections of a server share, not into a new one each time.

A protocol of asyncio gets its bytes in an object of their own, which for 64 KiB costs as much as unmasking them. One
that says where to read to (`asyncio.BufferedProtocol`) is spared that, at the price of a call more for each read: for
small messages that is the dearer way. So a connection begins with the former, and changes when its reads are large.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from .utils import is_ssl

if TYPE_CHECKING:
    from .websocket_protocol import WebSocketConnection

LARGE: Final = 32768
"""Octets in one read from which on a connection takes the shared buffer."""

_BUFFER: Final = 1 << 18  # octets
_VIEW_FROM: Final = 4096  # octets from which on a view is cheaper than a copy


class LargeReads(asyncio.BufferedProtocol):
    """What the transport talks to from then on; it passes all on to the connection. Lives in its loop's thread.

    The buffer is free again when `buffer_updated` returns: what is parsed or kept is copied by then.
    """

    __slots__ = ("_buffer", "_connection")

    def __init__(self, connection: WebSocketConnection) -> None:
        service = connection.service
        if service.read_buffer is None:
            service.read_buffer = memoryview(bytearray(_BUFFER))
        self._buffer = service.read_buffer
        self._connection = connection

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        view = self._buffer[:nbytes]
        self._connection.data_received(view if nbytes >= _VIEW_FROM else view.tobytes())

    def eof_received(self) -> None:
        self._connection.eof_received()

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)


def read_large(connection: WebSocketConnection) -> None:
    """Let the transport read into the shared buffer from now on; called while it reads."""
    transport = connection.transport
    if is_ssl(transport) or transport.is_closing():  # TLS has buffers of its own
        return
    transport.pause_reading()  # how it reads is settled when it starts to
    transport.set_protocol(LargeReads(connection))
    transport.resume_reading()
