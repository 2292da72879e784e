"""What the kernel tells of a listening socket. Apart from listeners.py, which a worker does not need."""

from __future__ import annotations

import socket
import struct


def is_listening(sock: socket.socket) -> bool:
    """Say whether listen() was called on the socket."""
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except (OSError, AttributeError):  # macOS answers for TCP only
        return False


def listening_backlog(sock: socket.socket) -> int | None:
    """Return the backlog of a socket that listens, None where the system does not tell (UNIX sockets, macOS)."""
    if not hasattr(socket, "TCP_INFO") or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    except OSError:
        return None
    # struct tcp_info: 8 bytes, then u32s; of a listening socket tcpi_sacked is the backlog (tcp_get_info() in Linux).
    return int(struct.unpack_from("=I", info, 28)[0]) or None
