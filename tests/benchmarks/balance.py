"""How evenly connections fall on workers, and what that costs.

    python -m tests.benchmarks.balance [--servers checkout,upstream,granian,gunicorn] [--tries 30] [--rounds 5]

Distribution: 64 keep-alive connections to 4 workers, all at once and one by one; for each try the share of the worker
with the most of them against the mean (1 is even). Cost: new connections a second, ours against ours with workers that
take whatever they can get, in turns: once with a request on each, once with none (connect, half-close, wait for the
end). `checkout` is the tree as it lies, run by this interpreter; `ours` its wheel, as `python -m tests.benchmarks`
installs it.
"""

from __future__ import annotations

import argparse
import contextlib
import selectors
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from tests.support.processes import free_port
from tests.support.wire import Wire

from .__main__ import load
from .peers import Peer, Wanted, every
from .peers.ours import Ours
from .report import table
from .scenarios import SCENARIOS
from .servers import serving

GET = b"GET /pid HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
CONNECT = replace(next(one for one in SCENARIOS if one.name == "connect"), connections=64)


class Checkout(Ours):
    def program(self, name: str, *args: str) -> list[str]:
        return [sys.executable if name == "python" else name, *args]


def peer(name: str) -> Peer:
    return Checkout("checkout", [], []) if name == "checkout" else every()[name]


def at_once(port: int, count: int) -> list[Wire]:
    """Connect all, then ask on all."""
    wires = [Wire.connect(port, timeout=30) for _ in range(count)]
    for wire in wires:
        wire.send(GET)
    return wires


def one_by_one(port: int, count: int) -> list[Wire]:
    """Connect when the one before was answered."""
    wires = []
    for _ in range(count):
        wires.append(Wire.connect(port, timeout=30))
        wires[-1].request(GET)
        wires[-1].send(GET)
    return wires


def shares(port: int, connect: Callable[[int, int], list[Wire]], count: int) -> Counter[bytes]:
    """How many of `count` new connections each worker has."""
    with contextlib.ExitStack() as stack:
        wires = connect(port, count)
        for wire in wires:
            stack.callback(wire.close)
        return Counter(wire.read_response().body for wire in wires)


def unevenness(found: Counter[bytes], workers: int) -> float:
    return max(found.values()) * workers / sum(found.values())


def requestless(port: int, seconds: float, at_a_time: int = 64) -> float:
    """Connections a second that were accepted, seen to have been half-closed, and closed by the server."""
    selector = selectors.DefaultSelector()
    done = 0

    def connect() -> None:
        sock = socket.socket()
        sock.connect(("127.0.0.1", port))
        sock.shutdown(socket.SHUT_WR)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)

    for _ in range(at_a_time):
        connect()
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        for key, _ in selector.select(1):
            selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
            done += 1
            connect()
    rate = done / (time.perf_counter() - began)
    for key in list(selector.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    return rate


def distributions(args: argparse.Namespace) -> str:
    rows = []
    for name in args.servers.split(","):
        port = free_port()
        with serving(peer(name), Wanted("bench:app", port, workers=args.workers, keep_alive=60), None, "/pid"):
            time.sleep(1)  # until all workers serve
            for title, connect in {"at once": at_once, "one by one": one_by_one}.items():
                found = []
                for _ in range(args.tries):
                    share = shares(port, connect, args.connections)
                    found.append(unevenness(share, args.workers))
                    if args.verbose:
                        print(name, title, sorted(share.values()), flush=True)
                    time.sleep(0.2)  # until the connections before are gone
                rows.append([f"{name}, {title}", f"{statistics.median(found):.2f}", f"{max(found):.2f}"])
    return table([f"{args.connections} connections, {args.workers} workers: most / mean", "median", "worst"], rows)


def cost(args: argparse.Namespace) -> str:
    ours = next((name for name in args.servers.split(",") if name in ("checkout", "ours")), None)
    if ours is None:
        return ""
    rates: dict[str, dict[str, list[float]]] = {"with a request": {}, "without": {}}
    with contextlib.ExitStack() as stack:
        ports = {}
        for app in ("bench", "greedy"):
            ports[app] = free_port()
            wanted = Wanted(f"{app}:app", ports[app], workers=args.workers)
            stack.enter_context(serving(peer(ours), wanted, None))
        time.sleep(1)
        for turn in range(args.rounds + 1):
            for app in ("bench", "greedy") if turn % 2 else ("greedy", "bench"):
                with_request = load(CONNECT, ports[app], args.seconds, None)["rate"]
                without = requestless(ports[app], args.seconds)
                if turn:  # the first one warms up
                    rates["with a request"].setdefault(app, []).append(with_request)
                    rates["without"].setdefault(app, []).append(without)
    rows = []
    for what, found in rates.items():
        ratios = [even / greedy for even, greedy in zip(found["bench"], found["greedy"], strict=True)]
        speeds = [f"{statistics.median(found[app]):,.0f}" for app in ("bench", "greedy")]
        rows.append([what, *speeds, f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"])
    return table(["New connections a second", "ours", "without the balance", "ratio", "of single rounds"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default="checkout,upstream,granian,gunicorn")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--tries", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement of the cost")
    parser.add_argument("--verbose", action="store_true", help="print each try")
    args = parser.parse_args()
    if args.tries:
        print(distributions(args), end="\n\n", flush=True)
    if args.rounds:
        print(cost(args))


if __name__ == "__main__":
    main()
