"""WebSockets: echoes per second, what one costs the server, and what an idle connection costs.

    python -m tests.benchmarks websocket [--only ws32text,ws64kbytes] [--servers ours,upstream] [--rounds 3]

Server and client have a core each. The client writes frames that were made before and counts octets; each of its 16
connections has one message on its way. Servers take turns within a round, so that a busy moment hits all of them.
Beside the rate stands the processor time per echo, of the whole tree of the server: the number to believe on a machine
that does other things. Idle connections are counted in proportional set size (PSS), from before they came.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.processes import Running, free_port

from .peers import Peer, Wanted
from .scenarios import ECHOES, Echo
from .servers import allow_open_files, pinned, proportional_set_size, serving

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CONNECTIONS = 16
IDLE = 4000
OPENED_WITHIN = 60  # seconds


def measure(args: argparse.Namespace, peers: list[Peer], say: Callable[[str], None]) -> dict[str, Any]:
    """Return `echo`: scenario -> server -> runs, and `idle`: what was measured -> server -> value."""
    echo: dict[str, dict[str, list[dict[str, Any]]]] = {}
    chosen = [each for each in ECHOES if not args.only or each.name in args.only]
    with contextlib.ExitStack() as stack:
        running = {}
        for peer in peers:
            port = free_port()
            running[peer.name] = stack.enter_context(serving(peer, Wanted("echo:app", port), args.server_core)), port
        for each in chosen:
            found: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in peers}
            for turn in range(args.rounds):
                first = turn % len(peers)  # whoever comes first, comes last next time
                for peer in peers[first:] + peers[:first]:
                    run = load(*running[peer.name], each, args.seconds, args.client_core)
                    found[peer.name].append(run)
                    shown = f"{run['rate']:9,.0f} /s {run['cpu']:8.1f} us of processor"
                    say(f"{each.name:10} {turn + 1}/{args.rounds} {peer.name:10} {shown}")
            echo[each.name] = found
    kept: dict[str, float] = {}
    count = min(IDLE, allow_open_files(IDLE + 1000) - 500)
    for peer in peers if not args.only else []:
        port = free_port()
        with serving(peer, Wanted("echo:app", port), args.server_core) as server:
            kept[peer.name] = idle(server, port, count)
        say(f"idle {peer.name}: {kept[peer.name]:.1f} KiB for each of {count:,} WebSockets")
    return {"echo": echo, "idle": {f"memory per idle WebSocket, KiB (of {count:,})": kept} if kept else {}}


def load(running: Running, port: int, echo: Echo, seconds: float, core: int | None) -> dict[str, Any]:
    """Run the client once, in a process of its own."""
    before = processor_time(running)
    command = [*pinned(core), sys.executable, "-m", "tests.benchmarks.websocket_echo"]
    command += [str(port), str(echo.size), str(echo.opcode), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 2 * OPENED_WITHIN)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    found["cpu"] = (processor_time(running) - before) / max(found["count"], 1) * 1e6
    return found


def processor_time(running: Running) -> float:
    """Seconds that the tree of the server has computed."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in running.tree()]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


# -- The client --


def head(opcode: int, length: int, mask: int) -> bytes:
    if length < 126:
        return struct.pack("!BB", 0x80 | opcode, mask | length)
    if length < 65536:
        return struct.pack("!BBH", 0x80 | opcode, mask | 126, length)
    return struct.pack("!BBQ", 0x80 | opcode, mask | 127, length)


class Connection(asyncio.Protocol):
    """One connection of the client: sends a frame whenever the answer to the last one is complete."""

    def __init__(self, opened: list[Connection], frame: bytes, answer: int) -> None:
        self.opened = opened
        self.frame = frame
        self.answer = answer
        self.octets = 0
        self.begun = 0.0
        self.times: list[float] = []
        self.head = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        if not self.begun:
            self.head += data
            if self.head.endswith(b"\r\n\r\n"):
                assert self.head.startswith(b"HTTP/1.1 101"), self.head
                self.opened.append(self)
            return
        self.octets += len(data)
        if self.octets >= self.answer:
            self.octets -= self.answer
            now = time.perf_counter()
            self.times.append(now - self.begun)
            self.begun = now
            self.transport.write(self.frame)

    def begin(self) -> None:
        self.begun = time.perf_counter()
        self.transport.write(self.frame)


async def connect(opened: list[Connection], port: int, count: int, frame: bytes = b"", answer: int = 1) -> None:
    """Open `count` more connections, and wait until the handshake of each is done."""
    loop = asyncio.get_running_loop()
    enough = len(opened) + count
    for _ in range(count):
        await loop.create_connection(lambda: Connection(opened, frame, answer), "127.0.0.1", port)
    async with asyncio.timeout(OPENED_WITHIN):
        while len(opened) < enough:
            await asyncio.sleep(0.01)


async def exchange(port: int, size: int, opcode: int, seconds: float) -> dict[str, float]:
    payload = b"x" * size if opcode == 1 else os.urandom(size)
    key = b"\x12\x34\x56\x78"
    masked = bytes(octet ^ key[i & 3] for i, octet in enumerate(payload))
    opened: list[Connection] = []
    await connect(opened, port, CONNECTIONS, head(opcode, size, 0x80) + key + masked, len(head(opcode, size, 0)) + size)
    for connection in opened:
        connection.begin()
    begun = time.perf_counter()
    await asyncio.sleep(seconds)
    spent = time.perf_counter() - begun
    times = sorted(each for connection in opened for each in connection.times)
    for connection in opened:
        connection.transport.abort()
    if not times:
        raise SystemExit(f"no echo in {spent:.1f} s")
    return {
        "count": len(times),
        "rate": len(times) / spent,
        "p50": statistics.median(times) * 1e6,
        "p99": times[len(times) * 99 // 100] * 1e6,
    }


def idle(running: Running, port: int, count: int) -> float:
    """Return the KiB that each of `count` connections costs which has been opened and is silent."""

    async def hold() -> float:
        opened: list[Connection] = []
        await connect(opened, port, 100)  # so that what is made once is not counted as one connection's
        before = proportional_set_size(running)
        for _ in range(0, count, 100):
            await connect(opened, port, 100)
        grown = proportional_set_size(running) - before
        for connection in opened:
            connection.transport.abort()
        return grown / count / 1024

    return asyncio.run(hold())


def main() -> None:
    import uvloop

    port, size, opcode, seconds = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(exchange(int(port), int(size), int(opcode), float(seconds)))))


if __name__ == "__main__":
    main()
