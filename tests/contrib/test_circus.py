"""The shipped configurations under the real circusd."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import Running, free_port, in_environment, is_alive
from uvicorn.ctl import Values, render

from .caught import assert_nothing_lost
from .helpers import get_json, pids, place_with_spaces, program, until, until_held_by

zmq = pytest.importorskip("zmq")  # circus speaks by it


class Circus:
    def __init__(self, running: Running, here: Path, port: int) -> None:
        self.running, self.here, self.port = running, here, port

    def ctl(self, *words: str) -> str:
        """Run circusctl; returns what it printed."""
        command = [program("circusctl"), "--endpoint", f"ipc://{self.here}/circus-endpoint", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=in_environment())
        return done.stdout + done.stderr

    def loses_nothing(self, act: Callable[[], object], settled: Callable[[], object]) -> None:
        assert_nothing_lost(
            self.port,
            self.here / "the app",
            act,
            leaving=lambda: self.running.log.count("Shutting down"),
            moments=2,
            settled=settled,
            log=lambda: self.running.log,
        )


@pytest.fixture
def circus(tmp_path: Path) -> Iterator[Callable[..., Circus]]:
    """Start circusd on the shipped file of a variant, filled in as `uvicornctl init` does."""
    circusd = program("circusd")
    there, commands = place_with_spaces(tmp_path)
    values = Values(
        directory=str(there),
        commands=commands,
        user="root" if os.getuid() == 0 else os.environ.get("USER", "nobody"),
        port=free_port(),
        run=str(tmp_path),
    )
    with ExitStack() as stack:

        def start(variant: str, *, more: str = "", **env: str) -> Circus:
            ((name, text),) = render("circus", variant, values).items()
            # Only this is other than shipped: a directory of the test's own.
            text = text.replace("/run/circus", f"{tmp_path}/circus")
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

    def settled() -> None:
        pids(web.port, 2, without=healed)
        web.running.wait_for("Reloaded: ")

    web.loses_nothing(lambda: web.ctl("reload", "web"), settled)
    web.ctl("quit")
    assert web.running.wait() == 0
    until_held_by(web.port, set())


def test_a_killed_master_takes_its_workers_along_and_comes_back(circus: Callable[..., Circus]):
    web = circus("master")
    workers = pids(web.port, 2)
    master = int(json.loads(web.ctl("--json", "list", "web"))["pids"][0])
    tree = [pid for pid in web.running.descendants() if pid == master or master in ancestors(pid)]
    assert workers <= set(tree)
    os.kill(master, signal.SIGKILL)
    until(lambda: not any(map(is_alive, tree)), "the orphans end", log=lambda: web.running.log)
    pids(web.port, 2, without=workers)


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        found.append(pid)
    return found


def test_single_processes_share_the_socket_and_a_restart_refuses_nobody(circus: Callable[..., Circus]):
    web = circus("processes")
    before = pids(web.port, 2)
    web.loses_nothing(lambda: web.ctl("restart", "web"), lambda: pids(web.port, 2, without=before))
    victim = min(pids(web.port, 2))
    os.kill(victim, signal.SIGKILL)
    pids(web.port, 2, without={victim})


def test_a_unix_socket_is_circusds_to_make_and_remove(circus: Callable[..., Circus]):
    web = circus("unix")
    path = web.here / "web.sock"
    web.running.wait_for("Application startup complete", count=2)
    assert path.stat().st_mode & 0o777 == 0o770
    assert get_json(path, "/scope", headers="X-Forwarded-For: 9.9.9.9\r\n")["client"] == ["9.9.9.9", 0]
    assert web.running.stop() == 0
    assert not path.exists()


def test_an_app_that_cannot_start_is_reported_with_its_exit_status(circus: Callable[..., Circus]):
    """That circus hears of it is ours; its plugin then stops the watcher, unless circus is too busy to listen."""
    web = circus("master", BROKEN="lifespan")
    web.running.wait_for("broken on purpose", timeout=60)
    with zmq.Context() as context, context.socket(zmq.SUB) as events:
        events.connect(f"ipc://{web.here}/circus-pubsub")
        events.subscribe(b"watcher.web.reap")
        assert events.poll(60_000), f"no process of circus ended in 60 s\n{web.running.log}"
        _, told = events.recv_multipart()
    assert json.loads(told)["exit_code"] == 3
    assert "broken on purpose" in web.running.log
