"""SIGUSR2 to code that does not know the state it is left: it takes the sockets; the workers leave when it serves."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.processes.apps import PID
from tests.processes.helpers import DEADLINE, all_ready, get, is_gone, judge, load, request, until, worker_pids
from tests.processes.test_upgrade import site as site  # the fixture
from tests.support.wire import Wire


def of_another_layout(site: Path) -> None:
    """Make the package on disk one that has another layout of the state than the one that runs."""
    file = site / "uvicorn" / "manager" / "succession.py"
    source = file.read_text()
    assert "\nSTATE = 1\n" in source
    file.write_text(source.replace("\nSTATE = 1\n", "\nSTATE = 99\n"))


@pytest.fixture
def start(uvicorn, site):
    def start(*args, workers=3):
        env = {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
        server = uvicorn("--workers", workers, "--no-access-log", *args, app=PID, env=env)
        all_ready(server, workers)
        of_another_layout(site)
        return server

    return start


UNKNOWN = "The state of that version is not known here"


def test_nothing_is_lost_and_the_process_stays(start, tmp_path):
    server = start("--pid", tmp_path / "web.pid")
    old = worker_pids(server, 3)
    with load(server) as clients:
        server.signal(signal.SIGUSR2)
        server.wait_for(UNKNOWN, DEADLINE)
        server.wait_for("Reloaded: 3 workers of generation 2 in", DEADLINE)
        until(lambda: all(is_gone(pid) for pid in old), "the workers that were found have left", server=server)
        judge(clients)
    assert int((tmp_path / "web.pid").read_text()) == server.pid
    assert not set(old) & set(worker_pids(server, 3))
    assert server.stop(DEADLINE) == 0
    assert not (tmp_path / "web.pid").exists()
    assert "Traceback" not in server.log


def test_what_they_answer_is_finished(start):
    server = start(workers=2)
    with Wire.connect(server.address, timeout=DEADLINE) as wire:
        wire.send(request("/stream"))
        wire.read_some()
        server.signal(signal.SIGUSR2)
        server.wait_for("Reloaded: 2 workers of generation 2 in", DEADLINE)
        assert wire.read_some()
    assert server.stop(DEADLINE) == 0


def test_a_stop_does_not_wait_for_the_new_ones(start):
    server = start("--timeout-graceful-shutdown", "1", workers=2)
    old = worker_pids(server, 2)
    server.signal(signal.SIGUSR2)
    server.wait_for(UNKNOWN, DEADLINE)
    assert server.stop(DEADLINE) == 0
    assert all(is_gone(pid) for pid in old)


def test_one_that_dies_meanwhile_is_reaped_and_the_others_serve(start, tmp_path):
    server = start(workers=2)
    old = worker_pids(server, 2)
    (tmp_path / "app.py").write_text("raise RuntimeError('not this one')")
    server.signal(signal.SIGUSR2)
    server.wait_for(UNKNOWN, DEADLINE)
    server.wait_for("Reload is partial", DEADLINE)
    os.kill(old[0], signal.SIGKILL)
    server.wait_for(rf"Worker \(pid {old[0]}\) of the version before exited: killed by SIGKILL", DEADLINE)
    assert get(server, "/pid") == str(old[1]).encode()
    (tmp_path / "app.py").write_text(PID)
    server.signal(signal.SIGHUP)
    server.wait_for("Reloaded: 2 workers of generation 3 in", DEADLINE)
    until(lambda: is_gone(old[1]), "the last one has left", server=server)
    assert get(server, "/") == b"hello"
    assert server.stop(DEADLINE) == 0


def test_a_scoreboard_of_another_layout_is_done_without(uvicorn, site):
    """The state is known; only what its workers write cannot be read. They are replaced as ever."""
    env = {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    server = uvicorn("--workers", 2, "--no-access-log", app=PID, env=env)
    all_ready(server, 2)
    old = worker_pids(server, 2)
    file = site / "uvicorn" / "manager" / "scoreboard.py"
    source = file.read_text()
    changed, count = re.subn(r"^_MAGIC = 0x7576_\d{4}", "_MAGIC = 0x7576_0099", source, flags=re.MULTILINE)
    assert count == 1
    file.write_text(changed)
    with load(server) as clients:
        server.signal(signal.SIGUSR2)
        server.wait_for("The scoreboard of generation 1 cannot be read", DEADLINE)
        server.wait_for("Reloaded: 2 workers of generation 2 in", DEADLINE)
        judge(clients)
    until(lambda: all(is_gone(pid) for pid in old), "the old workers have left", server=server)
    server.signal(signal.SIGPWR)
    server.wait_for("Status: generation 2, 2 of 2 workers ready", DEADLINE)
    assert server.stop(DEADLINE) == 0
    assert "Traceback" not in server.log
