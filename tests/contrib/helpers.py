"""Asking servers that a manager started, and finding the programs that manage them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tests.support.processes import Running
from tests.support.wire import Response, Wire, WireError

if TYPE_CHECKING:
    from tests.support.wire import Address

HERE = Path(__file__).parent
CONTRIB = HERE.parents[1] / "contrib"

T = TypeVar("T")

LISTEN = "0A"  # a state in /proc/net/tcp, proc(5)
ACCEPTS = 1 << 16  # a flag in /proc/net/unix


def program(name: str) -> str:
    """Find a program beside this Python, on the PATH or in /usr/sbin; without it the test is skipped by name."""
    for folder in (Path(sys.executable).parent, None, Path("/usr/sbin")):
        found = shutil.which(name, path=None if folder is None else str(folder))
        if found:
            return found
    pytest.skip(f"{name} is not installed")


def place_with_spaces(folder: Path) -> tuple[Path, str]:
    """Make a directory of the application, and one of the commands, whose names have a space; return both."""
    there, environment = folder / "the app", folder / "the environment"
    there.mkdir()
    (there / "app.py").write_text((HERE / "app.py").read_text())
    environment.symlink_to(Path(program("uvicorn")).parents[1])
    return there, f"{environment}/bin"


def get(address: Address | Running, path: str = "/", *, headers: str = "", timeout: float = 30, **kw: Any) -> Response:
    """Ask on a connection of its own."""
    with Wire.connect(address, timeout=timeout, **kw) as wire:
        return wire.request(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n".encode())


def get_json(address: Address | Running, path: str, **kw: Any) -> Any:
    return json.loads(get(address, path, **kw).body)


def until(check: Callable[[], T | None], what: str, timeout: float = 60, log: Callable[[], str] = str) -> T:
    """Ask until the answer is neither None nor False, or empty; there is no event for what another program does."""
    deadline = time.monotonic() + timeout
    while not (found := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}\n{log()}")
        time.sleep(0.02)
    return found


def pids(address: Address | Running, count: int, timeout: float = 60, without: set[int] | None = None) -> set[int]:
    """Ask on new connections until `count` different processes have answered, none of those in `without`.

    On several at a time: where one worker has less to do than the others, it takes every connection that comes alone.
    A connection may end without an answer, by a worker that a test has just killed: losses are judged elsewhere.
    """
    seen: set[int] = set()
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    def enough() -> set[int] | None:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, WireError):
            wires = [stack.enter_context(Wire.connect(address)) for _ in range(4 * count)]
            for wire in wires:
                wire.send(request)  # all before the first is read
            answers = [wire.read_response() for wire in wires]
            seen.update(int(answer.body) for answer in answers if answer.status == 200)
            seen.difference_update(without or ())
        return seen if len(seen) >= count else None

    return until(enough, f"{count} processes answer", timeout, lambda: f"these did: {seen}")


def holders(address: Address) -> set[int]:
    """Return the pids of the processes that hold a listening socket of this port or path."""
    target = getattr(address, "address", address)
    inodes = set()
    if isinstance(target, (int, tuple)):
        ending = f":{target if isinstance(target, int) else target[1]:04X}"
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(ending) and fields[3] == LISTEN:
                    inodes.add(f"socket:[{fields[9]}]")
    else:
        for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[-1] == str(target) and int(fields[3], 16) & ACCEPTS:
                inodes.add(f"socket:[{fields[6]}]")
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(link) in inodes:
                found.add(int(link.parts[2]))
    return found


def until_held_by(address: Address, keepers: set[int], log: Callable[[], str] = str) -> None:
    """Wait until nobody but these holds the listening socket: a killed process lets go a moment after its death."""
    left: set[int] = set()

    def only_those() -> bool:
        left.clear()
        left.update(holders(address) - keepers)
        return not left

    until(only_those, f"nobody but {keepers or 'nobody'} holds {address}", log=lambda: f"these do: {left}\n{log()}")
