"""The servers that are measured: one file each, with its version and its command line."""

from __future__ import annotations

import os
import subprocess
import venv
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(os.environ.get("UVICORN_BENCH_PEERS", Path(__file__).parents[1] / ".peers"))
"""Where their environments are, one folder each."""


@dataclass(frozen=True)
class Wanted:
    """How a server is to be started; every peer turns it into its own options."""

    app: str
    port: int
    workers: int = 1
    http: str | None = None
    """A parser, for servers that have a choice; None: their default."""
    access_log: bool = False
    """Write a line per request to standard output, which is a file."""
    keep_alive: int = 5
    """Seconds."""


@dataclass(frozen=True)
class Peer:
    name: str
    requirements: list[str]
    """What pip installs for it."""
    version: list[str]
    """The command that prints its version."""
    only_http: frozenset[str | None] = field(default=frozenset({None}))
    """The values of `Wanted.http` that it knows."""

    @property
    def bin(self) -> Path:
        return FOLDER / self.name / "bin"

    @property
    def installed(self) -> bool:
        return (self.bin / "python").exists()

    def install(self) -> None:
        """Make its environment; does nothing when it is there."""
        if not self.installed:
            print(f"installing {self.name} into {self.bin.parent}", flush=True)
            venv.create(self.bin.parent, with_pip=True)
            self.pip_install(*self.requirements, "fastapi")

    def pip_install(self, *args: str) -> None:
        pip = [str(self.bin / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *args], check=True)

    def describe(self) -> str:
        """Its version, and those of the libraries that decide its speed."""
        shown = subprocess.run(self.program(*self.version), capture_output=True, text=True, cwd="/").stdout.strip()
        listed = subprocess.run(
            [str(self.bin / "python"), "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, cwd="/"
        ).stdout.split()
        wanted = ("uvloop==", "httptools==", "h11==", "fastapi==")
        return " ".join([shown or "(no version)", *(line for line in listed if line.startswith(wanted))])

    def program(self, name: str, *args: str) -> list[str]:
        return [str(self.bin / name), *args]

    def command(self, wanted: Wanted) -> list[str]:
        raise NotImplementedError


def every() -> dict[str, Peer]:
    from . import granian, gunicorn, hypercorn, ours, upstream

    peers: list[Peer] = [ours.PEER, upstream.PEER, granian.PEER, gunicorn.PEER, hypercorn.PEER]
    return {peer.name: peer for peer in peers}
