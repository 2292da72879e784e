"""Commands that a test starts, and everything that they start.

A server under test forks, double-forks and execs, so its pid alone says little about what must be cleaned up. Every
command therefore runs in a session of its own and carries an environment variable that no other has; whoever has the
one or the other belongs to its tree, wherever it was re-parented to. A test that ends leaves nothing of it behind, nor
does one that is killed (see `guard`).
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .guard import MARK, has_ended, has_started, new_mark

SETTINGS = re.compile(
    r"UVICORN_|WEB_CONCURRENCY$|FORWARDED_ALLOW_IPS$|LISTEN_(FDS|PID|FDNAMES)|NOTIFY_SOCKET$|WATCHDOG_"
)
"""Variables of whoever runs the tests that would change what is tested."""
PYTHON = sys.executable

_RESERVATIONS = 256
_reserved: deque[socket.socket] = deque()


def _ports() -> Sequence[int]:
    """The ports that the kernel hands to no outgoing connection, since one of these would make a bind fail."""
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except OSError:
        low, high = 32_768, 65_535
    left = [port for port in range(10_000, 60_000) if not low <= port <= high]
    return left if len(left) >= 1000 else range(12_000, 32_000)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on, and that no other test of this machine gets meanwhile."""
    for port in random.SystemRandom().sample(_ports(), 200):
        if sys.platform == "linux":
            # An abstract UNIX address is a lock that ends with its process, however that dies.
            lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                lock.bind(f"\0uvicorn-test-port-{port}")
            except OSError:
                lock.close()
                continue
            _reserved.append(lock)
            if len(_reserved) > _RESERVATIONS:  # the tests of the oldest are long over
                _reserved.popleft().close()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("200 ports are all in use")


def in_environment(**variables: str) -> dict[str, str]:
    """Return the environment that tests start commands in: this one, without what would change a setting."""
    return {name: value for name, value in os.environ.items() if not SETTINGS.match(name)} | variables


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie, dead and not yet waited for, does not."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


class Running:
    """A started command, by default `python -m uvicorn ARGS`; leaving the context ends all that it started.

    It fails the test when the command has ended but something that it started has not. Output to a pipe is buffered in
    blocks: an app that prints and is waited for must flush.
    """

    GRACE = 10.0
    """Seconds that whatever a command has started may outlive it."""

    def __init__(
        self,
        *args: str | os.PathLike[str] | int,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: Any = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
        command: Sequence[str] = (PYTHON, "-m", "uvicorn"),
    ) -> None:
        self.args = [*command, *(str(arg) for arg in args)]
        self._mark = f"{MARK}={new_mark()}"
        environment = in_environment(**(env or {})) | dict([self._mark.split("=")])
        self._port = next((int(value) for value in self._values("--port") if value.isdecimal() and value != "0"), None)
        self._lock = threading.Condition()
        self._lines: list[tuple[str, str]] = []
        self._open_streams = 2
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            self.args,
            cwd=cwd,
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        self.pid = self.process.pid
        has_started(self.pid)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(name, pipe), daemon=True, name=f"{name} of {self.pid}")
            for name, pipe in (("stdout", self.process.stdout), ("stderr", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def __repr__(self) -> str:
        state = "running" if self.process.poll() is None else f"ended with {self.process.returncode}"
        return f"<Running pid {self.pid}, {state}: {' '.join(self.args[1:])}>"

    # -- what it printed --

    def _read(self, name: str, pipe: IO[bytes]) -> None:
        for line in iter(pipe.readline, b""):
            with self._lock:
                self._lines.append((name, line.decode(errors="backslashreplace")))
                self._lock.notify_all()
        pipe.close()
        with self._lock:
            self._open_streams -= 1
            self._lock.notify_all()

    def _printed(self, *names: str) -> str:
        with self._lock:
            return "".join(line for name, line in self._lines if name in names)

    @property
    def log(self) -> str:
        """Every whole line printed so far, standard output and standard error merged in order of arrival."""
        return self._printed("stdout", "stderr")

    @property
    def stdout(self) -> str:
        return self._printed("stdout")

    @property
    def stderr(self) -> str:
        return self._printed("stderr")

    def wait_for(self, pattern: str, timeout: float = 60, count: int = 1, after: int = 0) -> re.Match[str]:
        """Wait until `pattern` (a multi-line regular expression) is `count` times in the log; return the last match.

        `after` is a length of `log` from which to look. Raises AssertionError with the whole log: at `timeout` seconds,
        or at once when all that could still print has ended.
        """
        deadline = time.monotonic() + timeout
        regex = re.compile(pattern, re.MULTILINE)
        with self._lock:
            while True:
                log = "".join(line for _, line in self._lines)
                matches = list(regex.finditer(log, after))
                if len(matches) >= count:
                    return matches[count - 1]
                left = deadline - time.monotonic()
                if left <= 0 or not self._open_streams:
                    break
                self._lock.wait(left)
        why = f"in {timeout} s" if left <= 0 else "before it ended"
        raise AssertionError(f"{pattern!r} came {len(matches)} of {count} times {why}{self._described()}")

    def _described(self) -> str:
        return f"\n{self!r}\nIts log:\n{self.log or '(nothing)'}"

    # -- where it listens --

    def _values(self, option: str) -> Iterator[str]:
        for index, arg in enumerate(self.args):
            if arg == option and index + 1 < len(self.args):
                yield self.args[index + 1]
            elif arg.startswith(option + "="):
                yield arg.partition("=")[2]

    @property
    def port(self) -> int | None:
        """The TCP port: of `--port`, else of its "running on" line; None when there is neither (yet)."""
        if self._port is None:
            found = re.search(r"running on https?://\S*:(\d+)", self.log)
            self._port = int(found[1]) if found else None
        return self._port

    @property
    def address(self) -> str | tuple[str, int]:
        """Where a client connects: the path of `--uds`, else host and port."""
        for path in self._values("--uds"):
            return path
        host = next(self._values("--host"), "127.0.0.1")
        if self.port is None:
            raise AssertionError(f"no port known{self._described()}")
        return ("127.0.0.1" if host == "0.0.0.0" else host, self.port)

    # -- signals and ends --

    def signal(self, number: int) -> None:
        """Send a signal to the command itself (not to what it started)."""
        self.process.send_signal(number)

    def wait(self, timeout: float = 60) -> int:
        """Wait for the command's end; returns its status as subprocess does (-15: by SIGTERM)."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still running after {timeout} s{self._described()}Processes:\n{self._listed(self.tree())}"
            ) from None
        for reader in self._readers:
            reader.join(0.5)  # what it printed last; an orphan may hold the pipe
        if any(reader.is_alive() for reader in self._readers) and not self.descendants():
            for reader in self._readers:
                reader.join(timeout)
        return status

    def stop(self, timeout: float = 60) -> int:
        """Send SIGTERM and wait for the end."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    # -- the tree --

    def tree(self) -> list[int]:
        """The pids of the command and of all that it started and that is alive (no zombies), lowest first."""
        mine = set()
        parents: dict[int, int] = {}
        for pid in _pids():
            stat = _stat(pid)
            if stat is None or stat[0] in "ZX":
                continue
            parents[pid] = int(stat[1])
            if pid == self.pid or int(stat[3]) == self.pid or _has_variable(pid, self._mark):
                mine.add(pid)
        while grown := {pid for pid, parent in parents.items() if parent in mine} - mine:
            mine |= grown
        return sorted(mine)

    def descendants(self) -> list[int]:
        """The pids of all that the command started and that is alive, lowest first."""
        return [pid for pid in self.tree() if pid != self.pid]

    def wait_for_descendants(self, count: int, timeout: float = 60) -> list[int]:
        """Wait until exactly `count` processes that the command started are alive."""
        deadline = time.monotonic() + timeout
        while len(found := self.descendants()) != count:
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"expected {count} processes, found {len(found)} after {timeout} s:\n"
                    f"{self._listed(found)}{self._described()}"
                )
            time.sleep(0.01)  # the kernel has no event for the end of somebody else's child
        return found

    @staticmethod
    def _listed(pids: Sequence[int]) -> str:
        lines = []
        for pid in pids:
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                line = "(gone)"
            lines.append(f"  {pid}: {line[:200]}")
        return "\n".join(lines)

    def close(self) -> list[int]:
        """Kill the tree and release everything; returns what outlived a command that had ended by itself."""
        ended = self.process.poll() is not None
        deadline = time.monotonic() + self.GRACE
        while ended and (left := self.descendants()) and time.monotonic() < deadline:
            time.sleep(0.01)
        outlived = left if ended else []
        described = self._listed(outlived)
        deadline = time.monotonic() + 60
        while tree := self.tree():
            for pid in tree:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.process.poll()
            if time.monotonic() > deadline:
                raise AssertionError(f"cannot be killed:\n{self._listed(tree)}")
            time.sleep(0.005)
        self.process.wait()
        has_ended(self.pid)
        for reader in self._readers:
            reader.join(20)
        if outlived:
            raise AssertionError(f"outlived its parent:\n{described}{self._described()}")
        return outlived

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except AssertionError:
            if error is None:
                raise
        if error is not None and self.log not in str(error):
            error.add_note(self._described())


def _pids() -> list[int]:
    if sys.platform != "linux":
        listed = subprocess.run(["ps", "-axo", "pid="], capture_output=True, text=True, check=True)
        return [int(pid) for pid in listed.stdout.split()]
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[str] | None:
    """State, parent, group, session and so on, as in proc(5) after the command's name; None when it is gone."""
    if sys.platform != "linux":
        listed = subprocess.run(
            ["ps", "-o", "state=,ppid=,pgid=,sess=", "-p", str(pid)], capture_output=True, text=True
        )
        fields = listed.stdout.split()
        return [*fields[:3], str(pid if fields[0].find("s") > 0 else 0)] if len(fields) >= 3 else None
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # a command's name may hold anything, also ")"


def _has_variable(pid: int, variable: str) -> bool:
    try:
        return variable.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
