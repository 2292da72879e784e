"""A server of several workers as it is seen from outside: what it does with its clients while it is restarted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.load import GET, LoadClient, Report
from tests.support.processes import Running, free_port, is_alive
from tests.support.wire import Wire, WireError

from .peers import Peer, Wanted
from .servers import APPS, until_answered

PATIENCE = 30.0
"""Seconds until something that was awaited is said to happen never."""
STEP = 0.002


@dataclass
class Fleet:
    """A started server that serves apps/fleet.py."""

    running: Running
    port: int
    folder: Path

    def deploy(self, **values: object) -> None:
        deploy(self.folder, **values)

    def notes(self, word: str) -> list[int]:
        """The process ids that have noted this, in order."""
        try:
            lines = (self.folder / "notes").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [int(line.rpartition(" ")[2]) for line in lines if line.startswith(word + " ")]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def signal(self, number: int) -> None:
        if self.running.process.poll() is None:
            self.running.signal(number)

    def ask(self, path: str, timeout: float = 1) -> str:
        """Return the body of the answer to a connection of its own; empty: there was none."""
        try:
            with Wire.connect(self.port, timeout=timeout) as wire:
                return wire.request(asking(path, close=True)).body.decode()
        except (OSError, WireError):
            return ""

    def workers(self, count: int, patience: float = PATIENCE) -> set[int]:
        """Return the process ids of the workers that answer once there are `count`; fewer when it takes too long.

        Several connections ask at the same time, for something that keeps a worker busy for a moment: else one worker
        would answer them all.
        """
        found: set[int] = set()
        until = time.perf_counter() + patience
        while len(found) < count and time.perf_counter() < until:
            with contextlib.ExitStack() as stack, contextlib.suppress(OSError, WireError):
                wires = [stack.enter_context(Wire.connect(self.port, timeout=2)) for _ in range(2 * count)]
                for wire in wires:
                    wire.send(asking("/busy", close=True))
                for wire in wires:
                    found.add(int(wire.read_response().body))
        return found

    def seconds_until_replaced(self, old: set[int], count: int = 3) -> float:
        """Return how long it takes until `count` workers answer of which none is old, and the old ones are gone."""
        began = time.perf_counter()
        if seconds_until(lambda: not any(map(is_alive, old))) == NEVER:
            return NEVER
        left = PATIENCE - (time.perf_counter() - began)
        fresh = self.workers(count, max(left, 1))
        return time.perf_counter() - began if len(fresh) >= count and not fresh & old else NEVER


NEVER = float("inf")


def seconds_until(holds: Callable[[], object], patience: float = PATIENCE) -> float:
    began = time.perf_counter()
    while time.perf_counter() < began + patience:
        if holds():
            return time.perf_counter() - began
        time.sleep(STEP)
    return NEVER


def asking(path: str, *, close: bool = False) -> bytes:
    end = b"Connection: close\r\n\r\n" if close else b"\r\n"
    return b"GET " + path.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" + end


def deploy(folder: Path, **values: object) -> None:
    temporary = folder / "deploy.new"
    temporary.write_text(json.dumps(values))
    temporary.replace(folder / "deploy.json")


@contextlib.contextmanager
def fleet(peer: Peer, *options: str, workers: int = 3, app: str = "fleet:app", **values: object) -> Iterator[Fleet]:
    """Start a server; it answers when this returns. `values`: how the application is deployed."""
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        deploy(folder, **values)
        port = free_port()
        command = peer.command(Wanted(app, port, workers=workers))
        shell = ["sh", "-c", 'exec "$@" >log 2>&1', "sh", *command, *options]
        with contextlib.ExitStack() as stack:
            running = stack.enter_context(Running(cwd=folder, env={"PYTHONPATH": str(APPS)}, command=shell))
            stack.callback(_kill_all, running)
            started = Fleet(running, port, folder)
            try:
                until_answered(port, "/items/7" if app == "fast:app" else "/", running)
            except TimeoutError as error:
                raise RuntimeError(
                    f"{peer.name} does not answer: {' '.join(shell[4:])}\n{started.log[-3000:]}"
                ) from error
            yield started


def _kill_all(running: Running) -> None:
    """Kill what is left: some servers leave orphans, which `Running` would take for our failure."""
    while tree := running.tree():  # who is killed may have started another one meanwhile
        for pid in tree:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.process.poll()
        time.sleep(STEP)


@dataclass
class Clients:
    """Clients that never retry: some keep their connections alive, some make one for each request."""

    keeping: LoadClient
    reconnecting: LoadClient

    @classmethod
    def of(cls, fleet: Fleet, path: str = "/pid") -> Clients:
        line = GET.replace(b" / ", b" " + path.encode() + b" ")
        return cls(
            LoadClient(fleet.port, request=line, connections=6, pause=0.001),
            LoadClient(fleet.port, request=line, connections=3, keep_alive=False, pause=0.01),
        )

    def __enter__(self) -> Clients:
        for client in (self.keeping, self.reconnecting):
            client.start()
            with contextlib.suppress(AssertionError):  # that too is something to be told
                client.wait_for_answers(20, 5)
        return self

    def __exit__(self, *args: object) -> None:
        for client in (self.keeping, self.reconnecting):
            client.__exit__(None, None, None)

    def stop(self) -> Judgement:
        return Judgement([self.keeping.stop(), self.reconnecting.stop()])


@dataclass
class Judgement:
    reports: list[Report]

    @property
    def failed(self) -> int:
        return sum(report.failures for report in self.reports)

    @property
    def closed(self) -> int:
        """Connections that the server had closed between two requests: one more millisecond, and a request was lost."""
        return sum(report.closed_idle for report in self.reports)

    @property
    def gap(self) -> float:
        """Seconds: the longest time in which one kind of clients got no answer."""
        return max(report.longest_gap for report in self.reports)

    def __str__(self) -> str:
        closed = f" (+ {self.closed} closed while idle)" if self.closed else ""
        return f"{self.failed:,} failed{closed}, gap {self.gap * 1000:,.0f} ms"
