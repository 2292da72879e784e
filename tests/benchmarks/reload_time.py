"""--reload: from saving a file to the first answer from the new code.

    python -m tests.benchmarks.reload_time [--servers ours,upstream] [--rounds 10] [--pause 3]

A FastAPI application is saved anew, as editors do it; then it is asked every 5 ms, on a new connection each time, until
the answer is the new one. All servers watch with watchfiles and are asked in turn, so that a busy moment hits all of
them; while one is measured the others sleep. `--pause`: seconds between two saves, for people read before they type on;
a server may use them. Beside the times stand the memory of the whole tree while it waits for a save, and what
`import fastapi` costs here, since that is most of a cold start.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import statistics
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.processes import Running, free_port

from .peers import FOLDER, Peer, every
from .report import number, table
from .servers import proportional_set_size

SOURCE = """\
from fastapi import FastAPI
from pydantic import BaseModel

class Item(BaseModel):
    number: int

app = FastAPI()

@app.get("/")
async def version() -> str:
    return "{version}"

@app.get("/items/{{number}}")
async def item(number: int) -> Item:
    return Item(number=number)
"""
DEADLINE = 60  # seconds


def save(folder: Path, version: str) -> None:
    new = folder / ".app.py.new"
    new.write_text(SOURCE.format(version=version))
    new.replace(folder / "app.py")


def wait_for(port: int, version: str) -> float:
    """Return the seconds until the answer is this version."""
    began = time.perf_counter()
    while time.perf_counter() < began + DEADLINE:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/")
            if version in connection.getresponse().read().decode():
                return time.perf_counter() - began
        time.sleep(0.005)
    raise SystemExit(f"port {port} did not serve version {version} within {DEADLINE} s")


def import_time(peer: Peer) -> float:
    """Return the seconds of `import fastapi` in a new interpreter."""
    began = time.perf_counter()
    subprocess.run(peer.program("python", "-c", "import fastapi"), check=True, cwd="/")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--servers", default="ours,upstream", type=lambda text: text.split(","))
    parser.add_argument("--rounds", default=10, type=int)
    parser.add_argument("--pause", default=3.0, type=float)
    args = parser.parse_args()
    peers = [peer for name, peer in every().items() if name in args.servers]
    times: dict[str, list[float]] = {peer.name: [] for peer in peers}
    memory: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        servers = {}
        for peer in peers:
            peer.install()
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-reload-")))
            save(folder, "v0")
            port = free_port()
            command = peer.program("python", "-m", "uvicorn")
            options = ["app:app", "--reload", "--port", port]
            running = stack.enter_context(Running(*options, command=command, cwd=folder))
            servers[peer.name] = folder, port, running
            wait_for(port, "v0")
        for turn in range(args.rounds):
            for name, (folder, port, running) in servers.items():
                time.sleep(args.pause)
                memory[name] = proportional_set_size(running)
                save(folder, f"v{turn + 1}")
                times[name].append(wait_for(port, f"v{turn + 1}"))
        cold = {peer.name: statistics.median(import_time(peer) for _ in range(3)) for peer in peers}
    rows = [
        [
            name,
            *(number(found) for found in (statistics.median(taken), min(taken), max(taken))),
            f"{statistics.median(taken) / statistics.median(times['upstream']):.2f}" if "upstream" in times else "-",
            number(cold[name]),
            number(memory[name] / 2**20),
        ]
        for name, taken in times.items()
    ]
    header = [
        "Save to first new answer",
        "median, s",
        "best",
        "worst",
        "of upstream's",
        "import fastapi, s",
        "PSS, MiB",
    ]
    print(f"{args.rounds} saves each, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; peers in {FOLDER}")
    print(table(header, rows))


if __name__ == "__main__":
    main()
