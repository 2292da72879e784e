from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.support.load import GET, LoadClient, Report
from tests.support.processes import Running
from tests.support.wire import Wire, WireError

DEADLINE = 60
"""Seconds until a test gives up. Nothing here takes long, but a machine may be slow, and busy with other things."""
READY = "Application startup complete"
GOES = "Terminated child process"
"""What the master writes when it tells a worker to go."""


def get(server: Running, path: str, timeout: float = DEADLINE) -> bytes:
    """Ask on a connection of its own."""
    with connect(server, timeout) as wire:
        try:
            return wire.request(request(path, close=True)).body
        except WireError as error:
            raise type(error)(f"{error}\n{server.log}") from None


def connect(server: Running, timeout: float = DEADLINE) -> Wire:
    return Wire.connect(server.address, timeout=timeout)


def request(path: str, *, close: bool = False) -> bytes:
    end = b"Connection: close\r\n\r\n" if close else b"\r\n"
    return b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + end


def worker_pids(server: Running, count: int = 0, timeout: float = DEADLINE) -> list[int]:
    """The pids of the workers that serve, by their own log lines; waits until `count` are alive."""

    def enough() -> list[int] | None:
        pids = _alive(server)
        return pids if not count or len(pids) == count else None

    return until(enough, f"{count} workers alive", timeout, server)


def everybody(server: Running, path: str, count: int) -> set[bytes]:
    """Ask on ever more connections, which stay open, until `count` different answers have come.

    Which worker takes a connection is nobody's promise; who has many leaves the next ones to others.
    """
    answers: set[bytes] = set()
    with ExitStack() as stack:

        def one_more() -> bool:
            answers.add(stack.enter_context(connect(server)).request(request(path)).body)
            return len(answers) >= count

        until(one_more, f"{count} different answers to {path}", server=server)
    return answers


def _alive(server: Running) -> list[int]:
    started = {int(line.rpartition("[")[2].rstrip("]")) for line in server.log.splitlines() if "Started server" in line}
    return sorted(started & set(server.descendants()))


def until(  # type: ignore[no-untyped-def]
    check: Callable[[], object], what: str, timeout: float = DEADLINE, server: Running | None = None
):
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


def all_ready(server: Running, count: int, timeout: float = DEADLINE) -> None:
    server.wait_for(READY, count=count, timeout=timeout)


def start(uvicorn, *args, app, workers=3, **options):  # type: ignore[no-untyped-def]
    """Start a server of several workers; all of them serve when this returns."""
    server = uvicorn("--workers", workers, "--no-access-log", *args, app=app, **options)
    all_ready(server, workers)
    return server


@contextmanager
def load(server: Running, path: str = "/pid") -> Iterator[list[LoadClient]]:
    """Clients that never retry: some keep their connection, some connect for each request."""
    line = GET.replace(b" / ", b" " + path.encode() + b" ")
    clients = [
        LoadClient(server, request=line, connections=6, timeout=DEADLINE),
        LoadClient(server, request=line, connections=3, keep_alive=False, pause=0.01, timeout=DEADLINE),
    ]
    for client in clients:
        client.start()
    try:
        for client in clients:
            client.wait_for_answers(20, DEADLINE)
        yield clients
    finally:
        for client in clients:
            client.__exit__(None, None, None)


def judge(clients: list[LoadClient]) -> list[Report]:
    """Let the clients ask on for a moment and stop; fail when one of their requests was not answered whole.

    How long nobody was answered is not judged: the machine may be what paused. tests/benchmarks/restarts.py tells it.
    """
    for client in clients:
        client.wait_for_answers(20, DEADLINE)
    reports = [client.stop() for client in clients]
    for report in reports:
        assert report.failures == 0, str(report)
    return reports


def assert_never_fewer_ready(server: Running, wanted: int) -> None:
    """Fail if the master told a worker to go while no more were ready than wanted; SIGTTIN and SIGTTOU are followed.

    By the order of lines in the log, which does not depend on how fast they came: a worker writes that it is ready
    before it tells the master, and only then does the master write that another one is to go. For tests in which nobody
    dies and nobody is told to go before it is ready.
    """
    ready = 0
    for line in server.stderr.splitlines():
        if READY in line:
            ready += 1
        elif GOES in line:
            ready -= 1
            assert ready >= wanted, f"{ready} ready, {wanted} wanted, at {line!r}\n{server.log}"
        elif "Received SIGTTIN" in line:
            wanted += 1
        elif "Received SIGTTOU" in line:
            wanted -= 1
        elif "Received SIGTERM" in line:
            break
    assert ready >= wanted, f"{ready} ready at the end, {wanted} wanted\n{server.log}"


def lines_with(server: Running, pattern: str) -> list[str]:
    return [line for line in server.log.splitlines() if re.search(pattern, line)]


def is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def alive_of(pids: list[int]) -> list[int]:
    return [pid for pid in pids if not is_gone(pid)]
