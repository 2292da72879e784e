"""Asking servers that a manager started, and finding the programs that manage them."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tests.support.processes import Running
from tests.support.wire import Response, Wire

if TYPE_CHECKING:
    from tests.support.wire import Address

HERE = Path(__file__).parent
CONTRIB = HERE.parents[1] / "contrib"

T = TypeVar("T")


def program(name: str) -> str:
    """Find a program beside this Python, on the PATH or in /usr/sbin; without it the test is skipped by name."""
    for folder in (Path(sys.executable).parent, None, Path("/usr/sbin")):
        found = shutil.which(name, path=None if folder is None else str(folder))
        if found:
            return found
    pytest.skip(f"{name} is not installed")


def get(address: Address | Running, path: str = "/", *, headers: str = "", timeout: float = 10, **kw: Any) -> Response:
    """Ask on a connection of its own."""
    with Wire.connect(address, timeout=timeout, **kw) as wire:
        return wire.request(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n".encode())


def get_json(address: Address | Running, path: str, **kw: Any) -> Any:
    return json.loads(get(address, path, **kw).body)


def until(check: Callable[[], T | None], what: str, timeout: float = 15, log: Callable[[], str] = str) -> T:
    """Ask until the answer is neither None nor False, or empty; there is no event for what another program does."""
    deadline = time.monotonic() + timeout
    while not (found := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}\n{log()}")
        time.sleep(0.02)
    return found


def pids(address: Address | Running, count: int, timeout: float = 15, without: set[int] | None = None) -> set[int]:
    """Ask on new connections until `count` different processes have answered, none of those in `without`.

    On several at a time: where one worker has less to do than the others, it takes every connection that comes alone.
    """
    seen: set[int] = set()
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    def enough() -> set[int] | None:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            wires = [stack.enter_context(Wire.connect(address, timeout=10)) for _ in range(4 * count)]
            seen.update(int(wire.request(request).body) for wire in wires)
            seen.difference_update(without or ())
        return seen if len(seen) >= count else None

    return until(enough, f"{count} processes answer", timeout, lambda: f"these did: {seen}")
