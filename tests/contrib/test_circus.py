"""The shipped configurations under the real circusd."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Running, free_port, in_environment, is_alive
from uvicorn.ctl import MANAGERS, Values, render

from .caught import assert_nothing_lost
from .helpers import CONTRIB, get_json, pids, place_with_spaces, program, until, until_held_by

HOOKS = "uvicorn.contrib.failed_starts"


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
            name, *_ = rendered = render("circus", variant, values)
            for file, text in rendered.items():
                # Only these are others than shipped: a directory of the test's own, and time for a slow machine.
                text = text.replace("/run/circus", f"{tmp_path}/circus").replace("WINDOW = 60.0", "WINDOW = 3600.0")
                (tmp_path / file).write_text(text + more if file == name else text)
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


def until_status(web: Circus, status: str) -> None:
    until(lambda: web.ctl("status", "web").strip() == status, f"the watcher is {status}", 120, lambda: web.running.log)


def test_an_app_that_cannot_start_ends_in_a_stopped_watcher(circus: Callable[..., Circus]):
    web = circus("master")
    pids(web.port, 2)
    (web.here / "the app" / "broken").touch()
    master = int(web.ctl("list", "web"))
    os.kill(master, signal.SIGKILL)
    until_status(web, "stopped")
    web.running.wait_for(r"web is not started again: it failed 5 times within \d+ s; `circusctl start` tries anew$")
    web.running.wait_for("broken on purpose", count=4)  # the killed one was the first to count
    web.running.wait_for_descendants(0)
    (web.here / "the app" / "broken").unlink()
    assert web.ctl("start", "web").strip() == "ok"
    assert len(pids(web.port, 2)) == 2


def test_single_processes_that_cannot_start_end_so_too(circus: Callable[..., Circus]):
    web = circus("processes", BROKEN="lifespan")
    until_status(web, "stopped")
    web.running.wait_for("web is not started again: it failed 1[01] times")  # two may end at once
    web.running.wait_for_descendants(0)


@pytest.mark.parametrize("variant", MANAGERS["circus"].variants)
def test_every_variant_has_these_hooks(variant: str):
    text = next(iter(render("circus", variant, Values()).values()))
    for line in (f"hooks.after_reap = {HOOKS}.note_end", f"hooks.before_spawn = {HOOKS}.may_start"):
        assert f"\n{line}\n" in text


def test_a_wrong_setting_is_not_tried_again(circus: Callable[..., Circus]):
    web = circus("master", UVICORN_LIMIT_CONCURRENCY="many")
    web.running.wait_for("web is not started again: exit code 2 says that a setting is wrong")
    until_status(web, "stopped")


class Watcher:
    name = "web"
    numprocesses = 1


def hooks(name: str = "failed_starts") -> Any:
    """A fresh copy of the module, as circusd has it."""
    spec = importlib.util.spec_from_file_location(name, CONTRIB / "failed_starts.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_failures_count_within_the_window_and_anew_after_a_stop():
    ours = hooks()
    for time in range(4):
        ours.note_end(Watcher, time=float(time), exit_code=3)
        assert ours.may_start(Watcher)
    ours.note_end(Watcher, time=61.0, exit_code=3)  # the first is too long ago
    assert ours.may_start(Watcher)
    ours.note_end(Watcher, time=62.0, exit_code=-signal.SIGSEGV)
    ours.note_end(Watcher, time=62.0, exit_code=3)
    assert not ours.may_start(Watcher)
    assert ours.may_start(Watcher)


def test_stops_that_were_asked_for_do_not_count():
    ours = hooks()
    for exit_code in (0, -signal.SIGTERM, None) * 5:
        ours.note_end(Watcher, time=0.0, exit_code=exit_code)
    assert ours.may_start(Watcher)
