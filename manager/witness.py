"""What a worker can say when its event loop is stuck: where every thread is, and which requests are inside it.

The master asks by two real-time signals. The first is answered by faulthandler, in C, inside the signal handler: also
while an extension holds the interpreter's lock. The second is answered by Python code, which runs when the main thread
comes back to the interpreter: in a loop, or in a system call such as sleep, but not inside an extension.
Both write to a file without a name that the master has too.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Mapping
from types import FrameType
from typing import Any

from .process import widen_signal_stack

MOST_REQUESTS = 20


def stack_signal() -> int:
    return signal.SIGRTMAX - 1


def requests_signal() -> int:
    return signal.SIGRTMAX - 2


def install(fd: int) -> None:
    """Answer the first signal from now on; also during the import of the application."""
    faulthandler.register(stack_signal(), file=fd, all_threads=True, chain=False)
    widen_signal_stack()
    signal.signal(requests_signal(), _nothing)


def answer_with_requests_of(server: Any, fd: int) -> None:
    """Answer the second signal with the requests of this server."""

    def handler(number: int, frame: FrameType | None) -> None:
        lines = [*requests_inside(server)][:MOST_REQUESTS]
        os.write(fd, "".join(f"request: {line}\n" for line in lines).encode(errors="replace"))

    signal.signal(requests_signal(), handler)


def requests_inside(server: Any) -> list[str]:
    """Return the requests that the application is answering, in words."""
    found = []
    for connection in list(server.server_state.connections):
        scope = getattr(getattr(connection, "cycle", None), "scope", None) or getattr(connection, "scope", None)
        if scope:
            found.append(first_line(scope))
    return found


def first_line(scope: Mapping[str, Any]) -> str:
    """Return a request in words: method, target as it came, and who asks. One line, whatever the client has sent."""
    path = (scope.get("raw_path") or scope.get("path", "").encode()).decode("latin-1")
    query = (scope.get("query_string") or b"").decode("latin-1")
    client = scope.get("client")
    who = f" from {client[0]}:{client[1]}" if client else ""
    text = f"{scope.get('method', scope.get('type', '?').upper())} {path}{'?' + query if query else ''}{who}"
    return text if text.isprintable() else ascii(text)[1:-1]


def split(dump: str) -> tuple[list[str], str]:
    """Return the requests and the stacks of what a worker wrote."""
    requests: list[str] = []
    stacks: list[str] = []
    for line in dump.splitlines():
        (requests if line.startswith("request: ") else stacks).append(line.removeprefix("request: "))
    return requests, "\n".join(stacks)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass
