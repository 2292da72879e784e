"""WebSockets: echoes per second, what one costs the server, and what an idle connection costs.

    python -m tests.benchmarks.websocket_echo [--servers ours,upstream] [--sizes 32,65536] [--seconds 3] [--rounds 3]

Server and client have a core each. The client writes frames that were made before and counts octets; each of its 16
connections has one message on its way. Servers take turns within a round, so that a busy moment hits all of them.
Beside the rate stands the processor time per echo, of the whole tree of the server: the number to believe on a machine
that does other things. Idle connections are counted in proportional set size (PSS), from before they came.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.processes import Running, free_port

from .peers import Wanted, every
from .servers import pinned, proportional_set_size, serving

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CONNECTIONS = 16
IDLE = 4000


def head(opcode: int, length: int, mask: int) -> bytes:
    if length < 126:
        return struct.pack("!BB", 0x80 | opcode, mask | length)
    if length < 65536:
        return struct.pack("!BBH", 0x80 | opcode, mask | 126, length)
    return struct.pack("!BBQ", 0x80 | opcode, mask | 127, length)


class Echo(asyncio.Protocol):
    """One connection of the client: sends a frame whenever the answer to the last one is complete."""

    def __init__(self, opened: list[Echo], frame: bytes, answer: int) -> None:
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


async def client(port: int, size: int, opcode: int, seconds: float) -> dict[str, float]:
    payload = b"x" * size if opcode == 1 else os.urandom(size)
    key = b"\x12\x34\x56\x78"
    masked = bytes(octet ^ key[i & 3] for i, octet in enumerate(payload))
    frame = head(opcode, size, 0x80) + key + masked
    loop = asyncio.get_running_loop()
    opened: list[Echo] = []
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Echo(opened, frame, len(head(opcode, size, 0)) + size), "127.0.0.1", port)
    while len(opened) < CONNECTIONS:
        await asyncio.sleep(0.01)
    for connection in opened:
        connection.begin()
    begun = time.perf_counter()
    await asyncio.sleep(seconds)
    spent = time.perf_counter() - begun
    times = sorted(each for connection in opened for each in connection.times)
    for connection in opened:
        connection.transport.abort()
    return {
        "count": len(times),
        "rate": len(times) / spent,
        "p50": times[len(times) // 2] * 1e6,
        "p99": times[len(times) * 99 // 100] * 1e6,
    }


def processor_time(running: Running) -> float:
    """Seconds that the tree of the server has computed."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in running.tree()]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def measure(running: Running, port: int, size: int, opcode: int, seconds: float, core: int | None) -> dict[str, float]:
    before = processor_time(running)
    command = [*pinned(core), sys.executable, "-m", "tests.benchmarks.websocket_echo", "--client"]
    command += [f"{port},{size},{opcode},{seconds}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    found["cpu"] = (processor_time(running) - before) / found["count"] * 1e6
    return found


def idle(running: Running, port: int, count: int) -> float:
    """Return the KiB that each of `count` connections costs which has been opened and is silent."""

    async def hold() -> float:
        opened: list[Echo] = []
        loop = asyncio.get_running_loop()
        for _ in range(8):
            await loop.create_connection(lambda: Echo(opened, b"", 1), "127.0.0.1", port)
        while len(opened) < 8:
            await asyncio.sleep(0.01)
        before = proportional_set_size(running)
        for start in range(0, count, 100):
            for _ in range(100):
                await loop.create_connection(lambda: Echo(opened, b"", 1), "127.0.0.1", port)
            while len(opened) < 8 + start + 100:
                await asyncio.sleep(0.01)
        grown = proportional_set_size(running) - before
        for connection in opened:
            connection.transport.abort()
        return grown / count / 1024

    return asyncio.run(hold())


def started(names: list[str], stack: ExitStack, core: int | None) -> Iterator[tuple[str, Running, int]]:
    for name in names:
        peer = every()[name]
        peer.install()
        port = free_port()
        yield name, stack.enter_context(serving(peer, Wanted("echo:app", port), core)), port


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.websocket_echo", description=__doc__)
    parser.add_argument("--servers", default="ours,upstream")
    parser.add_argument("--sizes", default="32,65536")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=int, default=IDLE, help="idle connections; 0: none")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        import uvloop

        port, size, opcode, seconds = options.client.split(",")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(runner.run(client(int(port), int(size), int(opcode), float(seconds)))))
        return
    cores = (0, 1) if (os.cpu_count() or 1) > 1 else (None, None)
    found: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        servers = list(started(options.servers.split(","), stack, cores[0]))
        for _ in range(options.rounds):
            for size in map(int, options.sizes.split(",")):
                for opcode in (1, 2):
                    for name, running, port in servers:
                        result = measure(running, port, size, opcode, options.seconds, cores[1])
                        found.setdefault((name, size, opcode), []).append(result)
    print("| server | message | echoes/s | p50 us | p99 us | cpu us/echo |\n| --- | --- | --- | --- | --- | --- |")
    for (name, size, opcode), results in sorted(found.items(), key=lambda item: item[0][1:]):
        median = {key: statistics.median(result[key] for result in results) for key in results[0]}
        kind = "text" if opcode == 1 else "bytes"
        print(
            f"| {name} | {size} {kind} | {median['rate']:,.0f} | {median['p50']:,.0f} | {median['p99']:,.0f} "
            f"| {median['cpu']:.1f} |"
        )
    if options.idle:
        with ExitStack() as stack:
            for name, running, port in started(options.servers.split(","), stack, cores[0]):
                print(f"{name}: {idle(running, port, options.idle):.1f} KiB for each of {options.idle} idle WebSockets")


if __name__ == "__main__":
    main()
