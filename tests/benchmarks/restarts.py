"""What clients feel while a server of three workers is restarted, scaled, broken and stopped.

    python -m tests.benchmarks.restarts [--servers ours,upstream] [--only deploys,stop] [--rounds 5]

Two kinds of clients ask all the time and never retry: six keep their connections, three make one for each request. A
reset, a refusal, an end before the answer is complete is a failed request. A connection that was found closed just
before the next request was sent is none, but it is told: whether a client finds it so or comes too late is chance. A
gap is the longest time in which one kind of client got no answer. A dash: the server cannot do that. "never": not
within thirty seconds.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

from tests.support.processes import is_alive
from tests.support.wire import Wire, WireError

from .balance import at_once, one_by_one, shares, unevenness
from .fleets import NEVER, Clients, asking, fleet, seconds_until
from .peers import Peer, every
from .report import table
from .servers import proportional_set_size

Found = dict[str, str]
"""What was measured, in words -> how it came out, in words."""

# What each server calls it; who is not there cannot do it.
GRACE = {
    "ours": "--timeout-graceful-shutdown",
    "upstream": "--timeout-graceful-shutdown",
    "gunicorn": "--graceful-timeout",
    "granian": "--workers-kill-timeout",
}
REQUEST_LIMIT = {"ours": "--limit-max-requests", "upstream": "--limit-max-requests", "gunicorn": "--max-requests"}
LIVENESS = {
    "ours": "--timeout-worker-healthcheck",
    "upstream": "--timeout-worker-healthcheck",
    "gunicorn": "--timeout",
}
BOOT_LIMIT = {"ours": ["--timeout-worker-boot", "5"]}
PRELOAD = {"ours": ["--preload"], "gunicorn": ["--preload"]}
SCALES = {"ours", "upstream", "gunicorn"}
UPGRADES = {"ours"}
"""Who replaces its own code by itself; gunicorn can, by hand, with a second master."""


def duration(seconds: float, *, unit: str = "s") -> str:
    if seconds == NEVER:
        return "never"
    return f"{seconds * 1000:,.0f}" if unit == "ms" else f"{seconds:.1f}"


def restarts(peer: Peer, boot: float, count: int) -> str:
    with fleet(peer, boot=boot) as server:
        old = server.workers(3)
        with Clients.of(server) as clients:
            took = []
            for _ in range(count):
                server.signal(signal.SIGHUP)
                took.append(server.seconds_until_replaced(old))
                old = server.workers(3)
            judged = clients.stop()
    return f"{judged}, {' + '.join(map(duration, took))} s"


def rolling(peer: Peer, rounds: int) -> Found:
    return {
        "3 rolling restarts in a row, boot of 0.5 s": restarts(peer, 0.5, 3),
        "1 rolling restart, boot of 3 s": restarts(peer, 3.0, 1),
    }


def stream(peer: Peer, rounds: int) -> Found:
    with fleet(peer, GRACE[peer.name], "2") as server, Wire.connect(server.port, timeout=5) as wire:
        wire.send(asking("/stream/20"))
        wire.read_some()
        server.signal(signal.SIGHUP)
        time.sleep(1)
        server.signal(signal.SIGTERM)
        took = seconds_until(lambda: server.running.process.poll() is not None)
    return {"TERM in a restart that a stream of 20 s holds up, limit 2 s: gone after, s": duration(took)}


def recycling(peer: Peer, rounds: int) -> Found:
    if peer.name not in REQUEST_LIMIT:
        return {"new workers every 300 requests, for 10 s": "-"}
    with fleet(peer, REQUEST_LIMIT[peer.name], "300") as server, Clients.of(server) as clients:
        time.sleep(10)
        return {"new workers every 300 requests, for 10 s": str(clients.stop())}


def scaling(peer: Peer, rounds: int) -> Found:
    if peer.name not in SCALES:
        return {"TTIN x2, TTOU x3": "-"}
    with fleet(peer) as server, Clients.of(server) as clients:
        for number, pause in ((signal.SIGTTIN, 2), (signal.SIGTTIN, 2), *[(signal.SIGTTOU, 2)] * 3):
            server.signal(number)
            time.sleep(pause)
        judged = clients.stop()
        left = server.workers(2, 5)
    return {"TTIN x2, TTOU x3": f"{judged}, {len(left)} workers left"}


def upgrades(peer: Peer, rounds: int) -> Found:
    if peer.name not in UPGRADES:
        return {"USR2 twice": "-"}
    with fleet(peer, version=1) as server, Clients.of(server) as clients:
        ended = []
        for version in (2, 3):
            old = server.workers(3)
            server.deploy(version=version)
            server.signal(signal.SIGUSR2)
            ended.append(server.seconds_until_replaced(old))
        judged = clients.stop()
        same = server.running.process.poll() is None and server.ask("/version") == "3"
        return {"USR2 twice": f"{judged}, {'same process, new code' if same and NEVER not in ended else 'FAILED'}"}


def deploys(peer: Peer, rounds: int) -> Found:
    found = {}
    hang = BOOT_LIMIT.get(peer.name, [])
    for name, values, options in (
        ("that raises at import", {"broken": "import"}, []),
        ("whose lifespan fails", {"broken": "lifespan"}, []),
        ("whose boot hangs", {"boot": 600}, hang),
    ):
        with fleet(peer, *options, version=1) as server, Clients.of(server) as clients:
            server.deploy(**values)
            server.signal(signal.SIGHUP)
            time.sleep(8)
            survived = server.running.process.poll() is None and server.ask("/version", 5) == "1"
            server.deploy(version=2)
            server.signal(signal.SIGHUP)
            healed = seconds_until(lambda server=server: server.ask("/version") == "2", 15) < NEVER
            judged = clients.stop()
            state = "serves on" if survived else "down"
        found[f"HUP to a version {name}"] = f"{judged}, {state}, {'heals' if healed else 'stays so'}"
    return found


def blocked(peer: Peer, rounds: int) -> Found:
    options = [LIVENESS[peer.name], "2"] if peer.name in LIVENESS else []
    with fleet(peer, *options) as server, Wire.connect(server.port, timeout=5) as wire:
        wire.send(asking("/block/600"))
        seconds_until(lambda: server.notes("blocks"))
        (victim,) = server.notes("blocks")[:1]
        with Clients.of(server) as clients:
            took = seconds_until(lambda: not is_alive(victim), 20)
            judged = clients.stop()
        log = server.log
        told = "stack in the log" if "time.sleep(float(seconds))" in log or "in app" in log else "no stack"
    words = f"{duration(took)} s, {told}" if took < NEVER else "never"
    return {"event loop blocked, limit 2 s: replaced after": words, "... requests on the other workers": str(judged)}


def crash_loop(peer: Peer, rounds: int) -> Found:
    with fleet(peer) as server:
        workers = server.workers(3)
        before = len(server.notes("started"))
        server.deploy(dies=0.2)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        time.sleep(8)
        starts = len(server.notes("started")) - before - 3  # the first three replace those that were killed
        state = "up" if server.running.process.poll() is None else "down"
    return {"workers that die 0.2 s after they are ready, for 8 s: starts": f"{starts}, master {state}"}


def stop(peer: Peer, rounds: int) -> Found:
    with fleet(peer) as server, ExitStack() as stack:
        workers = server.workers(3)
        busy = [stack.enter_context(Wire.connect(server.port, timeout=15)) for _ in range(16)]
        for wire in busy:
            wire.send(asking("/sleep/1.5"))
        time.sleep(0.3)
        fresh = [stack.enter_context(Wire.connect(server.port, timeout=15)) for _ in range(8)]
        server.signal(signal.SIGTERM)
        time.sleep(0.3)
        answered = Counter[str]()
        for wire in fresh:
            answered["fresh"] += is_answered(wire, asking("/pid"))
        for wire in busy:
            answered["busy"] += is_answered(wire, None)
        took = seconds_until(lambda: server.running.process.poll() is not None)
        code = server.running.process.poll()
        shut_down = len(set(server.notes("shut down")) & workers)
        left = sum(map(is_alive, workers))
    rest = f"exit {'never' if took == NEVER else code}, {shut_down} of 3 lifespans shut down, {left} left"
    what = "TERM with 16 requests in flight and 8 fresh connections"
    return {what: f"{answered['busy']} + {answered['fresh']} answered, {rest}"}


def is_answered(wire: Wire, request: bytes | None) -> bool:
    try:
        if request is not None:
            wire.send(request)
        return wire.read_response().status == 200
    except (OSError, WireError):
        return False


def balance(peer: Peer, rounds: int) -> Found:
    found = {}
    for name, connect in (("at once", at_once), ("one by one", one_by_one)):
        values = []
        for _ in range(rounds):
            with fleet(peer, workers=4) as server:
                server.workers(4)
                values.append(unevenness(shares(server.port, connect, 64), 4))
        found[f"64 connections over 4 workers, {name}: most / mean"] = f"{statistics.median(values):.2f}"
    return found


def memory(peer: Peer, rounds: int) -> Found:
    found = {}
    for name, app, workers, options in (
        ("plain app, 3 workers", "fleet:app", 3, []),
        ("FastAPI app, 4 workers", "fast:app", 4, []),
        ("FastAPI app, 4 workers, preload", "fast:app", 4, PRELOAD.get(peer.name)),
    ):
        if options is None:
            found[f"{name}: memory, MiB"] = "-"
            continue
        with fleet(peer, *options, app=app, workers=workers) as server:
            time.sleep(3)
            found[f"{name}: memory, MiB"] = f"{proportional_set_size(server.running) / 2**20:.0f}"
    return found


def readiness(peer: Peer, rounds: int) -> Found:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        with fleet(peer) as server:
            all_three = len(server.workers(3)) == 3
            times.append(time.perf_counter() - began if all_three else NEVER)
    return {"from start until all 3 workers answer, s": f"{statistics.median(times):.2f}"}


def deaths(peer: Peer, rounds: int) -> Found:
    from .deaths import measure

    return measure(peer, rounds)


SCENARIOS: dict[str, Callable[[Peer, int], Found]] = {
    one.__name__: one
    for one in (
        rolling,
        stream,
        recycling,
        scaling,
        upgrades,
        deploys,
        blocked,
        deaths,
        crash_loop,
        stop,
        balance,
        memory,
        readiness,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default="ours,upstream,gunicorn,granian")
    parser.add_argument("--only", default=",".join(SCENARIOS), help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=5, help="of what is a median")
    args = parser.parse_args()
    peers = [every()[name] for name in args.servers.split(",")]
    for peer in peers:
        peer.install()
    results: dict[str, Found] = {}
    for name in args.only.split(","):
        for peer in peers:
            try:
                found = SCENARIOS[name](peer, args.rounds)
            except (OSError, RuntimeError, AssertionError) as error:
                found = {name: f"FAILED: {str(error).splitlines()[0][:100]}"}
            for what, how in found.items():
                results.setdefault(what, {})[peer.name] = how
                print(f"{peer.name}: {what}: {how}", file=sys.stderr, flush=True)
    print(table(["", *args.servers.split(",")], [[w, *(f.get(p.name, "") for p in peers)] for w, f in results.items()]))


if __name__ == "__main__":
    main()
