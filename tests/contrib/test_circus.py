"""The shipped configurations under the real circusd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.load import LoadClient
from tests.support.processes import Running, free_port, in_environment, is_alive
from uvicorn.ctl import Values, render

from .helpers import HERE, get, get_json, pids, program, until


class Circus:
    def __init__(self, running: Running, here: Path, port: int) -> None:
        self.running, self.here, self.port = running, here, port

    def ctl(self, *words: str) -> str:
        """Run circusctl; returns what it printed."""
        command = [program("circusctl"), "--endpoint", f"ipc://{self.here}/endpoint", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=in_environment())
        return done.stdout + done.stderr


@pytest.fixture
def circus(tmp_path: Path) -> Iterator[Callable[..., Circus]]:
    """Start circusd on the shipped file of a variant, filled in as `uvicornctl init` does."""
    circusd = program("circusd")
    (tmp_path / "app.py").write_text((HERE / "app.py").read_text())
    values = Values(
        directory=str(tmp_path),
        commands=str(Path(sys.executable).parent),
        user="root" if os.getuid() == 0 else os.environ.get("USER", "nobody"),
        port=free_port(),
        run=str(tmp_path),
    )
    with ExitStack() as stack:

        def start(variant: str, *, more: str = "", **env: str) -> Circus:
            ((name, text),) = render("circus", variant, values).items()
            # Only these are others than shipped: a directory of the test's own, and less patience with failures.
            text = text.replace("/run/circus", str(tmp_path))
            if env:
                text = text.replace("retry_in = 10", "retry_in = 1").replace("max_retry = 3", "max_retry = 1")
                text = text.replace("attempts = 5", "attempts = 1")
            (tmp_path / name).write_text(text + more)
            running = Running(command=[circusd, str(tmp_path / name)], cwd=tmp_path, env=env)
            return Circus(stack.enter_context(running), tmp_path, values.port)

        yield start


def test_one_master_serves_heals_and_reloads_without_a_loss(circus: Callable[..., Circus]):
    web = circus("master", more="\n[socket:foreign]\nhost = 127.0.0.1\nport = 0\n")
    first = pids(web.port, 2)
    # circus gives every socket to every process: ours is the only one that a worker has.
    assert get_json(web.port, "/fds") == [f"('127.0.0.1', {web.port})"]
    os.kill(min(first), signal.SIGKILL)
    healed = pids(web.port, 2, without={min(first)})
    with LoadClient(web.port, connections=4) as kept, LoadClient(web.port, connections=2, keep_alive=False) as fresh:
        kept.wait_for_answers(20)
        assert "ok" in web.ctl("reload", "web")
        pids(web.port, 2, without=healed, timeout=20)
        web.running.wait_for("Reloaded: ")
        reports = [kept.stop(), fresh.stop()]
    assert [report.failures for report in reports] == [0, 0], "\n".join(map(str, reports))
    web.ctl("quit")
    assert web.running.wait() == 0
    with pytest.raises(OSError, match="refused"):
        get(web.port)


def test_a_killed_master_takes_its_workers_along_and_comes_back(circus: Callable[..., Circus]):
    web = circus("master")
    workers = pids(web.port, 2)
    master = int(Path(f"/proc/{min(workers)}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(master, signal.SIGKILL)
    until(lambda: not any(map(is_alive, workers)), "the orphans end", 5, lambda: web.running.log)
    pids(web.port, 2, without=workers)


def test_single_processes_share_the_socket_and_a_restart_refuses_nobody(circus: Callable[..., Circus]):
    web = circus("processes")
    before = pids(web.port, 2)
    with LoadClient(web.port, connections=2, keep_alive=False, pause=0.02, timeout=15) as fresh:
        fresh.wait_for_answers(10)
        web.ctl("restart", "web")
        pids(web.port, 2, without=before)
        report = fresh.stop()
    assert report.failures == 0, str(report)
    os.kill(min(pids(web.port, 2)), signal.SIGKILL)
    pids(web.port, 2)


def test_a_unix_socket_is_circusds_to_make_and_remove(circus: Callable[..., Circus]):
    web = circus("unix")
    path = web.here / "web.sock"
    web.running.wait_for("Application startup complete", count=2)
    assert path.stat().st_mode & 0o777 == 0o770
    assert get_json(path, "/scope", headers="X-Forwarded-For: 9.9.9.9\r\n")["client"] == ["9.9.9.9", 0]
    assert web.running.stop() == 0
    assert not path.exists()


def test_an_app_that_cannot_start_is_seen(circus: Callable[..., Circus]):
    web = circus("master", BROKEN="lifespan")
    web.running.wait_for("broken on purpose")
    until(lambda: "stopped" in web.ctl("status", "web"), "circus gives up", 40, lambda: web.running.log)
