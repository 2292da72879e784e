"""Starting a server to be measured, and reading what the kernel knows of it."""

from __future__ import annotations

import contextlib
import resource
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.processes import Running
from tests.support.wire import Wire

from .peers import Peer, Wanted

APPS = Path(__file__).with_name("apps")
GET = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def pinned(core: int | None) -> list[str]:
    """What to put before a command to keep it on one core."""
    return [] if core is None or shutil.which("taskset") is None else ["taskset", "-c", str(core)]


@contextlib.contextmanager
def serving(peer: Peer, wanted: Wanted, core: int | None, path: str = "/") -> Iterator[Running]:
    """Start a server, its output into a file so that nobody has to read it; it answers when this returns."""
    with TemporaryDirectory(prefix="bench-") as folder:
        command = ["sh", "-c", 'exec "$@" >log 2>&1', "sh", *pinned(core), *peer.command(wanted)]
        with Running(cwd=Path(folder), env={"PYTHONPATH": str(APPS)}, command=command) as running:
            try:
                until_answered(wanted.port, path, running)
            except TimeoutError as error:
                log = Path(folder, "log").read_text(errors="replace")
                raise RuntimeError(f"{peer.name} does not answer: {' '.join(command[5:])}\n{log[-3000:]}") from error
            yield running


def until_answered(port: int, path: str, running: Running, seconds: float = 30) -> float:
    """Ask until there is an answer of status 200; returns the seconds that it took."""
    begun = time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds and running.process.poll() is None:
        with contextlib.suppress(OSError, AssertionError), Wire.connect(port, timeout=5) as wire:
            if wire.request(GET % path.encode()).status == 200:
                return time.perf_counter() - begun
        time.sleep(0.002)
    raise TimeoutError(f"no answer in {spent:.1f} s")


def proportional_set_size(running: Running) -> int:
    """The memory of the whole tree in bytes, pages shared by several processes counted once."""
    return sum(rollup(pid)["Pss"] for pid in running.tree())


def rollup(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def wake_ups(running: Running) -> int:
    """How often any thread of the tree has gone to sleep since its start, that is, had been awake."""
    count = 0
    for pid in running.tree():
        for task in Path(f"/proc/{pid}/task").iterdir():
            for line in (task / "status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    count += int(line.split()[1])
    return count


def open_connections(port: int, count: int) -> list[socket.socket]:
    """Open connections that have each got one answer and stay."""
    found = []
    for start in range(0, count, 50):
        batch = [Wire.connect(port, timeout=10) for _ in range(min(50, count - start))]
        for wire in batch:
            wire.send(GET % b"/")
        for wire in batch:
            if wire.read_response().status != 200:
                raise RuntimeError("not answered")
        found += [wire.sock for wire in batch]
    return found


def allow_open_files(wanted: int) -> int:
    """Raise the limit of open files, of this process and of servers that it starts; returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, wanted), hard), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
