"""Observations of a uvicorn, of whichever interpreter: what it answers, logs, and how it ends. No judgement here."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.processes import Running, free_port, in_environment

from .wire import Client, frames

HERE = Path(__file__).parent
DEADLINE = 60.0
Observations = dict[str, Any]
"""By the name of the observation; values are what JSON can hold."""

_CHANGING = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:<port>"),
    (re.compile(r"""(['"]127\.0\.0\.1['"], )\d+"""), r"\1<port>"),
    (re.compile(r"\[\d+\]"), "[<pid>]"),
    (re.compile(r"0x[0-9a-f]{6,}"), "0x<address>"),
)


def lines_of(log: str) -> list[str]:
    """Return the lines of a log without what changes from run to run; of a traceback only what was raised stays."""
    found: list[str] = []
    inside = False
    for line in log.splitlines():
        line = without_changing(line)
        starts = re.match(r"(TRACE|DEBUG|INFO|WARNING|ERROR|CRITICAL|Usage|Error|Traceback)\b", line)
        if line.startswith("Traceback"):
            inside = True
        elif inside and not starts:
            if re.match(r"[\w.]+(Error|Exception|Exit|Interrupt)\b", line):
                if found and found[-1].startswith("  raised "):  # of an exception that led to this one
                    found.pop()
                found.append(f"  raised {line}")
        else:
            inside = False
            if line.strip(" |+-"):
                found.append(line)
    return found


# -- commands ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A command line, run until it ends by itself, or until `serving` is in its log: then it gets the signals."""

    arguments: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    serving: str | None = None
    signals: tuple[str, ...] = ()
    several: bool = False
    """Several processes write, in an order that nobody knows: their lines are sorted, and equal ones are one."""
    only: str = ""
    """Of several processes, of which some may be stopped at any time, only the lines that begin so."""

    def observe(self, python: str, folder: Path) -> Any:
        for name, source in self.files.items():
            (folder / name).write_text(source)
        port = str(free_port())
        arguments = [argument.replace("PORT", port) for argument in self.arguments]
        # A warning shows a line of the source.
        environment = {"PYTHONWARNINGS": "ignore", **self.environment}
        with Running(*arguments, cwd=folder, command=(python, "-m", "uvicorn"), env=environment) as server:
            if self.serving is not None:
                server.wait_for(self.serving, timeout=DEADLINE)
                for name in self.signals:
                    server.signal(signal.Signals[name])
            status = server.wait(DEADLINE)
            said = [line.replace(str(folder), "<folder>").replace(port, "<port>") for line in lines_of(server.stderr)]
            log = [line for line in said if line.startswith(self.only)]
            log = sorted(set(log)) if self.several or self.only else log
            return {"status": status, "log": log, "stdout": lines_of(server.stdout)}


# -- requests ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """Octets to a server of `served:app`, the responses that they get, and whether the connection goes on."""

    data: bytes
    responses: int = 1
    then: bytes = b""
    """Octets that are sent when the first response has come."""
    head_only: bool = False
    heard: bool = False
    """Ask what the application was told."""

    def observe(self, served: Served) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with Client(served.port) as client:
            client.send(self.data)
            for number in range(self.responses):
                response = client.response(head_only=self.head_only)
                for name, value in response.facets().items():
                    found[f"{name} {number + 1}" if number else name] = without_changing(value)
                if self.then and not number:
                    client.send(self.then)
            found["connection"] = client.what_follows()
        return served.with_the_rest(found, heard=self.heard)


@dataclass(frozen=True)
class WebSocket:
    """A handshake and what follows it at once, then what came back."""

    handshake: bytes
    frames: tuple[bytes, ...] = ()
    heard: bool = True
    hang_up: bool = False
    """Leave without a close frame when the first frame has come back."""

    def observe(self, served: Served) -> Any:
        with Client(served.port) as client:
            client.send(self.handshake)
            head = client.until(b"\r\n\r\n")
            found: dict[str, Any] = {}
            if head.startswith(b"HTTP/1.1 101"):
                for one in self.frames:
                    client.send(one)
                if self.hang_up:
                    client.exactly(3)
                else:
                    found["frames"] = without_changing(frames(client))
                found["accept"] = accepted(head)
            else:
                client.received = head + client.received
                found |= client.response().facets()
        return served.with_the_rest(found, heard=self.heard)


def accepted(head: bytes) -> list[str]:
    """Return the lines of the accept, in order of their names: that of a header is no matter, nor is its case."""
    found = []
    for line in head.decode("latin-1").strip().split("\r\n")[1:]:
        name, _, value = line.partition(":")
        found.append(f"{name.lower()}:{value if name.lower() != 'date' or value == ' never' else ' <date>'}")
    return sorted(found)


def without_changing(value: Any) -> Any:
    """Return a text, or each of a list, without what changes from run to run."""
    if isinstance(value, list):
        return [without_changing(one) for one in value]
    if isinstance(value, str):
        for pattern, instead in _CHANGING:
            value = pattern.sub(instead, value)
    return value


@dataclass(frozen=True)
class Refusal:
    """A bad request to a new server, and the line that it gives."""

    data: bytes

    def observe(self, python: str, folder: Path, *arguments: str) -> Any:
        with served(python, folder, *arguments) as one, Client(one.port) as client:
            client.send(self.data)
            client.response()
            found = one.running.wait_for("^WARNING: .*$", timeout=DEADLINE)
            return lines_of(found[0])


class Served:
    """A running server of `served:app`."""

    def __init__(self, running: Running) -> None:
        self.running = running
        assert running.port is not None
        self.port = running.port
        self._marks = 0
        self._seen = [0, 0]

    def with_the_rest(self, found: dict[str, Any], *, heard: bool) -> dict[str, Any]:
        """Add what the application was told, and what was logged meanwhile."""
        if heard:
            found["heard"] = json.loads(self._get("/heard"))
        self._marks += 1
        mark = f"n{self._marks}n"
        self._get(f"/mark?{mark}")
        self.running.wait_for(f"MARK {mark}$", timeout=DEADLINE)
        self.running.wait_for(f'"GET /mark.{mark} HTTP/1.1" 200', timeout=DEADLINE)
        log = []
        for index, whole in enumerate((self.running.stderr, self.running.stdout)):
            new, self._seen[index] = whole[self._seen[index] :], len(whole)
            log += [line for line in lines_of(new) if "MARK" not in line and "/mark?" not in line]
        # Of refused requests not every line is logged, if there are many.
        meant = ('"GET /heard ', "follow-up", "Invalid HTTP request received")
        found["log"] = [line for line in log if not any(text in line for text in meant)]
        return found

    def _get(self, path: str) -> str:
        with Client(self.port) as client:
            client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            return client.response().body


@contextmanager
def served(python: str, folder: Path, *arguments: str) -> Iterator[Served]:
    """Serve `served:app`; a wrong exit is for others to judge."""
    (folder / "served.py").write_text((HERE / "served.py").read_text())
    port = free_port()
    command = ("served:app", "--port", port, *arguments)
    with Running(*command, cwd=folder, command=(python, "-m", "uvicorn")) as running:
        running.wait_for("Uvicorn running on", timeout=DEADLINE)
        start = Served(running)
        start.with_the_rest({}, heard=False)
        yield start


# -- all of it ---------------------------------------------------------------------------------------------------------


PROBES = ("probe_config.py", "probe_server.py", "probe_middleware.py")


def observe_api(python: str, folder: Path) -> Observations:
    """Run the programs that look at the Python API from inside."""
    found: Observations = {}
    for probe in PROBES:
        ran = subprocess.run(
            [python, "-W", "ignore", HERE / probe],
            cwd=folder,
            env=in_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stderr
        found |= json.loads(ran.stdout)
    return found


def observe_served(
    python: str, folder: Path, cases: Mapping[str, Request | WebSocket], *arguments: str
) -> Observations:
    """Have one server answer all the cases; an observation for each facet of each."""
    with served(python, folder, *arguments) as one:
        found: Observations = {}
        for name, case in cases.items():
            try:
                found |= {f"{name}.{facet}": value for facet, value in case.observe(one).items()}
            except (AssertionError, OSError) as error:
                raise AssertionError(f"{name}: {error}") from error
        return found
