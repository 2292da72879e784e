"""kill -9 of a worker and of the master: how long until all is well again.

    python -m tests.benchmarks.deaths [--servers ours,upstream] [--rounds 10]

Two workers. A worker is killed; new connections are made, one after the other, until a worker answers that was not
there before: that is the replacement, ready. Then the master is killed: until no process of the tree is left and the
port refuses. "never" is said after five seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import statistics
import time
from collections.abc import Callable

from tests.support.processes import Running, free_port, is_alive
from tests.support.wire import Wire, WireError

from .peers import Peer, Wanted, every
from .report import table
from .servers import serving

DEADLINE = 5.0  # seconds
GET = b"GET /pid HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def who_answers(port: int) -> int:
    """Return the process id of the worker that answers a new connection; 0: nobody did."""
    try:
        with Wire.connect(port, timeout=1) as wire:
            return int(wire.request(GET).body)
    except (OSError, WireError, AssertionError, ValueError):
        return 0


def seconds_until(holds: Callable[[], object]) -> float:
    began = time.perf_counter()
    while time.perf_counter() < began + DEADLINE:
        if holds():
            return time.perf_counter() - began
        time.sleep(0.001)
    return float("inf")


def workers_of(port: int, count: int = 2) -> set[int]:
    found: set[int] = set()
    if seconds_until(lambda: found.add(who_answers(port)) or len(found - {0}) == count) == float("inf"):
        raise TimeoutError(f"only {found} answer")
    return found - {0}


def refuses(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def replacement_answers(port: int, before: set[int]) -> float:
    return seconds_until(lambda: who_answers(port) not in before | {0})


def all_gone(port: int, tree: list[int]) -> float:
    return seconds_until(lambda: refuses(port) and not any(map(is_alive, tree)))


def measure(peer: Peer, rounds: int) -> dict[str, str]:
    replaced, gone = [], []
    for _ in range(rounds):
        port = free_port()
        with serving(peer, Wanted("bench:app", port, workers=2), None, "/pid") as running:
            with contextlib.suppress(TimeoutError):
                before = workers_of(port)
                os.kill(next(iter(before)), signal.SIGKILL)
                replaced.append(replacement_answers(port, before))
            tree = tree_of(running)
            os.kill(running.pid, signal.SIGKILL)
            gone.append(all_gone(port, tree))
            for pid in tree:  # some leave orphans that serve on
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    return {
        "worker killed: its replacement answers after, ms": milliseconds(replaced),
        "master killed: all gone and the port free after, ms": milliseconds(gone),
    }


def tree_of(running: Running) -> list[int]:
    return [pid for pid in running.tree() if pid != running.pid]


def milliseconds(times: list[float]) -> str:
    if not times or statistics.median(times) == float("inf"):
        return "never"
    worst = "never" if max(times) == float("inf") else f"{max(times) * 1000:.0f}"
    return f"{statistics.median(times) * 1000:.0f} (worst {worst})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default="ours,upstream,granian,gunicorn")
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    peers = [every()[name] for name in args.servers.split(",")]
    results = {peer.name: measure(peer, args.rounds) for peer in peers}
    rows = [[what, *(results[peer.name][what] for peer in peers)] for what in results[peers[0].name]]
    print(table(["", *results], rows))


if __name__ == "__main__":
    main()
