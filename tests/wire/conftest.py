"""One server per parser, shared by the tests of a process: started when first asked for, judged after every test."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import Running, Wire, free_port

from .harness import connect

PARSERS = ["httptools", "h11"]
PYTHON = os.environ.get("WIRE_PYTHON", sys.executable)
"""The interpreter that has the server under test; name another to see what another server fails."""
OPTIONS = os.environ.get("WIRE_OPTIONS", "").split()
"""More options for the shared servers, say `--loop asyncio`, to run all of this folder under them."""

Servers = Callable[..., Running]


@pytest.fixture(params=PARSERS)
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """`servers(parser, *options)`: the server with these options, started once a process."""
    started: dict[tuple[str, ...], Running] = {}
    with ExitStack() as stack:

        def server(parser: str, *options: str) -> Running:
            key = (parser, *options)
            if key not in started or started[key].process.poll() is not None:
                arguments = ["app:app", "--http", parser, "--no-access-log", *OPTIONS, *options]
                if "--uds" not in options:
                    arguments += ["--port", str(free_port())]
                running = Running(*arguments, cwd=Path(__file__).parent, command=(PYTHON, "-m", "uvicorn"))
                started[key] = stack.enter_context(running)
                running.wait_for("Uvicorn running on")
            return started[key]

        yield server


@pytest.fixture
def server(parser: str, servers: Servers) -> Iterator[Running]:
    """A server with default options, whose application makes no mistake: nothing but warnings may be in its log."""
    running = servers(parser)
    before = len(running.log)
    yield running
    assert running.process.poll() is None, running.log[before:]
    assert "Traceback" not in running.log[before:], running.log[before:]


@pytest.fixture
def playground(parser: str, servers: Servers) -> Iterator[Running]:
    """A server whose application may make every mistake."""
    running = servers(parser, "--log-level", "info")
    yield running
    assert running.process.poll() is None, running.log[-5_000:]


@pytest.fixture
def wire(server: Running) -> Iterator[Wire]:
    with connect(server) as wire:
        yield wire
