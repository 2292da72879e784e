"""How connections fall on workers that are processes; the decision itself is tested in manager/test_balance.py."""

from __future__ import annotations

import os
import signal
from collections import Counter

from tests.processes.apps import PID
from tests.processes.helpers import all_ready, connect, request, worker_pids

WORKERS = 4
EVEN = 24
"""Of 64 connections, the most that one of four workers may have: on a quiet machine it has 18 or less."""


def start(uvicorn):
    server = uvicorn("--workers", str(WORKERS), app=PID)
    all_ready(server, WORKERS)
    return server


def at_once(server, count):
    """Who answers on each of `count` connections that are all open before the first request."""
    wires = [connect(server) for _ in range(count)]
    for wire in wires:
        wire.send(request("/pid"))
    return close(wires)


def one_by_one(server, count):
    wires = []
    for _ in range(count):
        wires.append(connect(server))
        wires[-1].send(request("/pid"))
        wires[-1].read_response()
        wires[-1].send(request("/pid"))
    return close(wires)


def close(wires):
    found = Counter(int(wire.read_response().body) for wire in wires)
    for wire in wires:
        wire.close()
    return found


def best_of(server, opened, tries=8):
    """The evenest of some tries: on a busy machine a worker may be kept from running for a whole try."""
    best = WORKERS * 64
    for _ in range(tries):
        found = opened(server, 64)
        assert found.total() == 64
        best = min(best, max(found.values()))
        if best <= EVEN:
            break
    return best


def test_connections_fall_evenly(uvicorn):
    server = start(uvicorn)
    assert best_of(server, at_once) <= EVEN
    assert best_of(server, one_by_one) <= EVEN


def test_others_serve_everybody_while_a_worker_stands_still(uvicorn):
    server = start(uvicorn)
    stopped = worker_pids(server, WORKERS)[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        assert stopped not in at_once(server, 40)
        assert stopped not in one_by_one(server, 20)
    finally:
        os.kill(stopped, signal.SIGCONT)
