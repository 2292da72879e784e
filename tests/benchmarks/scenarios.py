"""What is asked of the servers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    path: str = "/"
    script: str = "report.lua"
    arguments: tuple[str, ...] = ()
    """For the script."""
    connections: int = 32
    app: str = "bench:app"
    http: str | None = None
    access_log: bool = False


SCENARIOS = [
    Scenario("hello", "Hello world"),
    Scenario("browser", "Browser's ten headers", script="browser.lua"),
    Scenario("access", "Access log to a file", access_log=True),
    Scenario("fastapi", "FastAPI route", path="/items/7?name=seven", app="fast:app"),
    Scenario("10k", "10 KiB answer", path="/10k"),
    Scenario("1m", "1 MiB answer", path="/1m"),
    Scenario("stream", "Stream of 64 chunks", path="/stream"),
    Scenario("upload16k", "Upload of 16 KiB", path="/upload", script="upload.lua", arguments=("16384",)),
    Scenario("upload1m", "Upload of 1 MiB", path="/upload", script="upload.lua", arguments=("1048576",)),
    Scenario("connect", "New connection per request", script="close.lua"),
    Scenario("pipeline", "Pipelining, 16 deep", script="pipeline.lua"),
    Scenario("h11", "Hello world, `--http h11`", http="h11"),
]


@dataclass(frozen=True)
class Echo:
    """A message that comes back on a WebSocket."""

    name: str
    title: str
    size: int
    """Octets."""
    opcode: int
    """1: text, 2: bytes."""


ECHOES = [
    Echo("ws32text", "Echo of 32 B of text", 32, 1),
    Echo("ws32bytes", "Echo of 32 B", 32, 2),
    Echo("ws64ktext", "Echo of 64 KiB of text", 65536, 1),
    Echo("ws64kbytes", "Echo of 64 KiB", 65536, 2),
]
