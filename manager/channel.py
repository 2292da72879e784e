"""A pair of connected sockets that keeps packets apart: what master, template and worker talk through.

End-of-file means that the other side is gone, however it died. So nobody but the two may hold an end open: who forks
closes what is not the child's.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Iterator, Sequence

from .messages import Message, decode, encode

_LARGEST_PACKET = 256 * 1024
_MOST_FDS = 4


class Channel:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.at_end = False
        """The other side is gone."""
        self.fds: list[int] = []
        """Descriptors that came with the last message; whoever takes them owns them."""

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Return two ends; neither blocks, and neither is inherited through an exec."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        return cls(ours), cls(theirs)

    @classmethod
    def adopt(cls, fd: int) -> Channel:
        """Return the channel whose end was inherited, or received, as `fd`."""
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        self._sock.setblocking(flag)

    def send(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """Send a message. False if it cannot be delivered: the other side is gone, or has long stopped reading."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._sock.sendmsg([encode(message)], ancillary)
        except OSError:
            return False
        return True

    def receive(self) -> Message | None:
        """Return the next message; None if there is none, the other side is gone (`at_end`), or it is unknown."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []
        try:
            packet, ancillary, _, _ = self._sock.recvmsg(
                _LARGEST_PACKET, socket.CMSG_SPACE(_MOST_FDS * array.array("i").itemsize), socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:  # ECONNRESET: it died with messages of ours unread
            self.at_end = True
            return None
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                self.fds = fds.tolist()
        if not packet:
            self.at_end = True
            return None
        return decode(packet)

    def pending(self) -> Iterator[Message]:
        """Return what has arrived by now; for an end that does not block."""
        while True:
            before = self.at_end
            message = self.receive()
            if message is not None:
                yield message
            elif self.at_end or before or not self._readable():
                return

    def _readable(self) -> bool:
        with contextlib.suppress(OSError):
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            return True
        return False

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []
        self._sock.close()
