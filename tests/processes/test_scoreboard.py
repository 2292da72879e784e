"""What the master knows of its workers, and still knows when they are gone: told in the log at SIGPWR."""

from __future__ import annotations

import os
import re
import signal

from tests.processes.apps import PID
from tests.processes.helpers import DEADLINE, all_ready, connect, get, request, until, worker_pids

TOTALS = r"Status: generation (\d+), \d of \d workers ready; in \S+ s: (\d+) requests, (\d+) of them answered 5xx"


def totals(server) -> tuple[int, int, int]:
    """Generation, requests, those of them that were answered 5xx."""
    before = len(server.log)
    server.signal(signal.SIGPWR)
    generation, requests, errors = server.wait_for(TOTALS, DEADLINE, after=before).groups()
    return int(generation), int(requests), int(errors)


def wait_for_totals(server, *wanted: int) -> None:
    """Workers write once a second what they have counted."""
    until(lambda: totals(server) == wanted, f"the totals are {wanted}", server=server)


def test_totals_outlive_workers_generations_and_an_upgrade(uvicorn):
    server = uvicorn("--workers", "2", "--no-access-log", app=PID)
    all_ready(server, 2)
    for path in ("/", "/", "/", "/fail", "/status/503", "/"):
        get(server, path)
    wait_for_totals(server, 1, 6, 2)
    for pid in worker_pids(server, 2):
        os.kill(pid, signal.SIGKILL)
        server.wait_for(rf"\(pid {pid}\) exited: killed by SIGKILL", DEADLINE)
    all_ready(server, 4)
    get(server, "/")
    wait_for_totals(server, 1, 7, 2)
    get(server, "/")
    server.signal(signal.SIGHUP)  # at once: what a worker has counted since its last beat it writes when it ends
    server.wait_for("Reloaded: 2 workers of generation 2", DEADLINE)
    wait_for_totals(server, 2, 8, 2)
    server.signal(signal.SIGUSR2)
    server.wait_for("Reloaded: 2 workers of generation 3", DEADLINE)
    get(server, "/status/503")
    wait_for_totals(server, 3, 9, 3)
    assert server.stop(DEADLINE) == 0


def test_the_oldest_request_is_named(uvicorn):
    server = uvicorn("--workers", "2", "--no-access-log", "--timeout-graceful-shutdown", "0", app=PID)
    all_ready(server, 2)
    with connect(server) as wire:
        wire.send(request("/sleep/600?x=1"))

        def told() -> bool:
            before = len(server.log)
            server.signal(signal.SIGPWR)
            server.wait_for("Worker 2.*: generation 1", DEADLINE, after=before)
            found = re.search(
                r"Worker (\d).* oldest request for \S+ s: GET /sleep/600\?x=1 from 127", server.log[before:]
            )
            return found is not None

        until(told, "the request is told", server=server)
