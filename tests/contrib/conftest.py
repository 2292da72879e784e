"""A started gunicorn, for the tests of its worker classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Running, free_port

from .helpers import HERE, program

Start = Callable[..., Running]


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Start]:
    """`start(*args, workers=1, worker=CLASS, settings=SOURCE, ready=PATTERN)` on a port of its own."""
    (tmp_path / "app.py").write_text((HERE / "app.py").read_text())
    with ExitStack() as running:

        def start(
            *args: Any,
            workers: int = 1,
            worker: str = "uvicorn.workers.UvicornWorker",
            settings: str = "",
            ready: str | None = "Application startup complete",
            **kw: Any,
        ) -> Running:
            (tmp_path / "gunicorn.conf.py").write_text(f"control_socket_disable = True\n{settings}")
            arguments = ["--workers", workers, "--worker-class", worker, *args]
            if "--bind" not in args:
                arguments += ["--bind", f"127.0.0.1:{free_port()}"]
            server = running.enter_context(
                Running(*arguments, "app:app", **{"cwd": tmp_path, **kw}, command=[program("gunicorn")])
            )
            bound = str(arguments[arguments.index("--bind") + 1])
            if bound.startswith("127.0.0.1:"):
                server._port = int(bound.rpartition(":")[2])
            if ready is not None:
                server.wait_for(ready, count=workers)
            return server

        yield start
