"""Asking servers that a manager started, and finding the programs that manage them."""

from __future__ import annotations

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
    """Ask on new connections until `count` different processes have answered, none of those in `without`."""
    seen: set[int] = set()

    def enough() -> set[int] | None:
        try:
            pid = int(get(address).body)
        except OSError:
            return None
        if pid not in (without or set()):
            seen.add(pid)
        return seen if len(seen) >= count else None

    return until(enough, f"{count} processes answer", timeout, lambda: f"these did: {seen}")
