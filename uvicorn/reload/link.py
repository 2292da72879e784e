"""A line between two processes: JSON documents, one a line, over a pair of sockets. Its end is the other's death."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from typing import Any

HELD_BACK = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))
"""Signals that are blocked in a process of ours until it handles them: a Ctrl-C that reaches the whole group while its
interpreter starts would end it with a traceback."""


class Link:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._received = b""
        self.at_end = False

    @classmethod
    def pair(cls) -> tuple[Link, Link]:
        ours, theirs = socket.socketpair()
        return cls(ours), cls(theirs)

    @classmethod
    def adopt(cls, fd: int) -> Link:
        """Take over an inherited end; what this process starts will not have it."""
        sock = socket.socket(fileno=fd)
        sock.set_inheritable(False)
        return cls(sock)

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, document: Any) -> None:
        """Send, and wait until it fits. Nothing happens if the other end is closed."""
        with contextlib.suppress(ConnectionError):
            self._sock.sendall(json.dumps(document).encode() + b"\n")

    def receive(self) -> list[Any]:
        """Return the documents that have arrived, without waiting."""
        try:
            while not self.at_end:
                self._take(socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        *lines, self._received = self._received.split(b"\n")
        return [json.loads(line) for line in lines]

    def wait(self) -> Any:
        """Return the next document; None at the end."""
        while b"\n" not in self._received:
            if self.at_end:
                return None
            self._take()
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def _take(self, flags: int = 0) -> None:
        try:
            data = self._sock.recv(262_144, flags)
        except ConnectionError:  # the other end died with something of ours unread
            data = b""
        self._received += data
        self.at_end = not data

    def close(self) -> None:
        self._sock.close()
