"""The runner.

    python -m tests.benchmarks                     everything, all servers; about an hour
    python -m tests.benchmarks --quick             everything, one second and one round each: does it still work?
    python -m tests.benchmarks http --only hello,connect --servers ours,upstream
    python -m tests.benchmarks websocket           echoes on WebSockets, memory per idle one
    python -m tests.benchmarks idle                memory, memory per connection, wake-ups
    python -m tests.benchmarks startup             time to the first answer, memory of a tree
    python -m tests.benchmarks command             time of --help and --version
    python -m tests.benchmarks report FILE         tables of an earlier run, --into DOCUMENT to put them there

Results are kept as JSON under tests/benchmarks/results/. UVICORN_BENCH_PEERS names another folder for the environments
of the other servers. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.processes import free_port

from . import report, websocket_echo
from .peers import Peer, Wanted, every
from .scenarios import ECHOES, SCENARIOS, Scenario
from .servers import (
    APPS,
    allow_open_files,
    open_connections,
    pinned,
    proportional_set_size,
    serving,
    wake_ups,
)

HERE = Path(__file__).parent
CONNECTIONS = 4000


def load(scenario: Scenario, port: int, seconds: float, core: int | None) -> dict[str, Any]:
    """Run wrk once."""
    command = [*pinned(core), "wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds:g}s", "--latency"]
    command += ["-s", str(HERE / "wrk" / scenario.script), f"http://127.0.0.1:{port}{scenario.path}"]
    command += ["--", *scenario.arguments] if scenario.arguments else []
    environment = os.environ | {"WRK_SCRIPTS": str(HERE / "wrk")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return {**found, "rate": found["requests"] / found["microseconds"] * 1e6}
    raise SystemExit(f"wrk failed: {' '.join(command)}\n{done.stdout}{done.stderr}")


def measure_http(args: argparse.Namespace, peers: list[Peer]) -> dict[str, Any]:
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed (Debian: apt-get install wrk)")
    results: dict[str, Any] = {}
    for scenario in SCENARIOS:
        if args.only and scenario.name not in args.only:
            continue
        able = [peer for peer in peers if scenario.http in peer.only_http]
        found: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in able}
        with contextlib.ExitStack() as stack:
            ports = {}
            for peer in able:
                ports[peer.name] = port = free_port()
                wanted = Wanted(scenario.app, port, http=scenario.http, access_log=scenario.access_log)
                path = "/" if scenario.app == "bench:app" else scenario.path
                stack.enter_context(serving(peer, wanted, args.server_core, path))
                load(scenario, port, args.warm_up, args.client_core)
            for turn in range(args.rounds):
                first = turn % len(able)  # whoever comes first, comes last next time
                for peer in able[first:] + able[:first]:
                    run = load(scenario, ports[peer.name], args.seconds, args.client_core)
                    found[peer.name].append(run)
                    say(f"{scenario.name:10} {turn + 1}/{args.rounds} {peer.name:10} {run['rate']:9,.0f} /s")
        results[scenario.name] = found
    return results


def measure_idle(args: argparse.Namespace, peers: list[Peer]) -> dict[str, dict[str, float]]:
    count = min(CONNECTIONS, allow_open_files(CONNECTIONS + 1000) - 500)
    labels = {
        "memory": "memory of one process or worker tree, MiB",
        "connection": f"memory per idle connection, KiB (of {count:,})",
        "wakeups": "wake-ups per second",
    }
    results: dict[str, dict[str, float]] = {label: {} for label in labels.values()}
    pause = 2.0 if args.quick else 10.0
    for peer in peers:
        port = free_port()
        with serving(peer, Wanted("bench:app", port, keep_alive=300), args.server_core) as running:
            time.sleep(min(pause, 3))
            memory = proportional_set_size(running)
            before = wake_ups(running)
            time.sleep(pause)
            results[labels["wakeups"]][peer.name] = (wake_ups(running) - before) / pause
            for sock in open_connections(port, 200):  # so that what is made once is not counted as one connection's
                sock.close()
            time.sleep(1)
            base = proportional_set_size(running)
            connections = open_connections(port, count)
            time.sleep(1)
            results[labels["connection"]][peer.name] = (proportional_set_size(running) - base) / count / 1024
            results[labels["memory"]][peer.name] = memory / (1 << 20)
            for sock in connections:
                sock.close()
        say(f"idle {peer.name}: " + ", ".join(f"{label} {found[peer.name]:.2f}" for label, found in results.items()))
    return results


def measure_startup(args: argparse.Namespace, peers: list[Peer]) -> dict[str, dict[str, float]]:
    results: dict[str, dict[str, float]] = {}
    for app, path in (("bench:app", "/"), ("fast:app", "/items/7")):
        for workers in (1, 3, 4):
            seconds = f"{app.split(':')[0]} app, {workers} worker{'s' * (workers > 1)}: first answer after, seconds"
            memory = f"{app.split(':')[0]} app, {workers} worker{'s' * (workers > 1)}: memory, MiB"
            for peer in peers:
                times, sizes = [], []
                for _ in range(1 if args.quick else args.rounds):
                    begun = time.perf_counter()
                    with serving(peer, Wanted(app, free_port(), workers=workers), None, path) as running:
                        times.append(time.perf_counter() - begun)
                        time.sleep(1.5)
                        sizes.append(proportional_set_size(running) / (1 << 20))
                results.setdefault(seconds, {})[peer.name] = statistics.median(times)
                results.setdefault(memory, {})[peer.name] = statistics.median(sizes)
                say(f"startup {app} {workers} {peer.name}: {statistics.median(times):.2f} s, {sizes[-1]:.1f} MiB")
    return results


def measure_command(args: argparse.Namespace, peers: list[Peer]) -> dict[str, dict[str, float]]:
    results: dict[str, dict[str, float]] = {}
    able = [peer for peer in peers if peer.name in ("ours", "upstream")]
    for option in ("--help", "--version"):
        times: dict[str, list[float]] = {peer.name: [] for peer in able}
        for _ in range(3 if args.quick else 20):
            for peer in able:
                command = [*pinned(args.server_core), *peer.program("python", "-m", "uvicorn", option)]
                begun = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True, cwd="/")
                times[peer.name].append(time.perf_counter() - begun)
        results[f"`{option}`"] = {name: statistics.median(values) for name, values in times.items()}
        say(f"command {option}: {results[f'`{option}`']}")
    return results


def measure_websocket(args: argparse.Namespace, peers: list[Peer]) -> dict[str, Any]:
    return websocket_echo.measure(args, peers, say)


MEASURES = {
    "http": measure_http,
    "websocket": measure_websocket,
    "idle": measure_idle,
    "startup": measure_startup,
    "command": measure_command,
}


def machine() -> dict[str, Any]:
    models = [line.partition(":")[2].strip() for line in read("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or "unknown processor",
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
    }


def read(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", default="all", choices=["all", *MEASURES, "install", "report"])
    parser.add_argument("file", nargs="?", type=Path, help="results to report")
    parser.add_argument("--into", type=Path, help="the document that `report` writes its tables into")
    parser.add_argument("--quick", action="store_true", help="one round of one second: proves that it runs")
    parser.add_argument("--only", type=words, default=[], metavar="NAMES", help="scenarios of http, websocket")
    parser.add_argument("--servers", type=words, default=[], metavar="NAMES", help=f"of {', '.join(every())}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one run")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before the first run of a scenario")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--output", type=Path, help="where the results go")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds, args.warm_up = 1, 1.0, 1.0
    known = [scenario.name for scenario in (*SCENARIOS, *ECHOES)]
    if unknown := set(args.only).difference(known):
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(known)}")
    if unknown := set(args.servers) - every().keys():
        parser.error(f"no such server: {', '.join(unknown)}; there are {', '.join(every())}")
    return args


def main() -> None:
    args = parse()
    if args.what == "report":
        text = report.markdown(json.loads(args.file.read_text()))
        return report.write_into(args.into, text) if args.into else print(text)
    peers = [peer for name, peer in every().items() if not args.servers or name in args.servers]
    for peer in peers:
        peer.install()
    if args.what == "install":
        return None
    if not APPS.is_dir() or platform.system() != "Linux":
        raise SystemExit("measuring needs Linux: it reads /proc")
    date = datetime.datetime.now(datetime.UTC)
    results: dict[str, Any] = {
        "date": date.strftime("%Y-%m-%d %H:%M UTC"),
        "run_by": "python -m tests.benchmarks " + " ".join(sys.argv[1:]),
        "machine": machine(),
        "load": {
            "tool": "wrk",
            "seconds": args.seconds,
            "rounds": args.rounds,
            "server_core": args.server_core,
            "client_core": args.client_core,
        },
        "servers": {peer.name: peer.describe() for peer in peers},
    }
    output = args.output or HERE / "results" / f"{date:%Y%m%d-%H%M%S}-{args.what}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    for name, measure in MEASURES.items():
        if args.what in ("all", name):
            results[name] = measure(args, peers)
            output.write_text(json.dumps(results, indent=1))
    print(report.markdown(results))
    say(f"kept as {output}")
    return None


if __name__ == "__main__":
    main()
