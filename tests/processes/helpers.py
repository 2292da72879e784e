from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.load import GET, LoadClient, Report
from tests.support.processes import Running
from tests.support.wire import Wire

READY = "Application startup complete"


def get(server: Running, path: str, timeout: float = 10) -> bytes:
    """Ask on a connection of its own."""
    with Wire.connect(server.address, timeout=timeout) as wire:
        return wire.request(request(path, close=True)).body


def request(path: str, *, close: bool = False) -> bytes:
    end = b"Connection: close\r\n\r\n" if close else b"\r\n"
    return b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + end


def worker_pids(server: Running, count: int = 0, timeout: float = 10) -> list[int]:
    """The pids of the workers that serve, by their own log lines; waits until `count` are alive."""

    def enough() -> list[int] | None:
        pids = _alive(server)
        return pids if not count or len(pids) == count else None

    return until(enough, f"{count} workers alive", timeout, server)


def _alive(server: Running) -> list[int]:
    started = {int(line.rpartition("[")[2].rstrip("]")) for line in server.log.splitlines() if "Started server" in line}
    return sorted(started & set(server.descendants()))


def until(check: Callable[[], object], what: str, timeout: float = 10, server: Running | None = None):  # type: ignore[no-untyped-def]
    """Ask until the answer is neither None nor False; the kernel has no event for it."""
    deadline = time.monotonic() + timeout
    while True:
        found = check()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            log = f"\nIts log:\n{server.log}" if server else ""
            raise AssertionError(f"not within {timeout} s: {what}{log}")
        time.sleep(0.005)


def all_ready(server: Running, count: int, timeout: float = 20) -> None:
    server.wait_for(READY, count=count, timeout=timeout)


@contextmanager
def load(server: Running, path: str = "/pid") -> Iterator[list[LoadClient]]:
    """Clients that never retry: some keep their connection, some connect for each request."""
    line = GET.replace(b" / ", b" " + path.encode() + b" ")
    clients = [
        LoadClient(server, request=line, connections=6),
        LoadClient(server, request=line, connections=3, keep_alive=False, pause=0.01),
    ]
    for client in clients:
        client.start()
    try:
        for client in clients:
            client.wait_for_answers(20)
        yield clients
    finally:
        for client in clients:
            client.__exit__(None, None, None)


def judge(clients: list[LoadClient], *, gap: float | None = None) -> list[Report]:
    reports = [client.stop() for client in clients]
    for report in reports:
        assert report.failures == 0, str(report)
        if gap is not None:
            assert report.longest_gap <= gap, str(report)
    return reports


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"
