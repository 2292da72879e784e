"""SIGUSR2: other code of the server, same process, nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.processes.apps import PID, with_version
from tests.processes.helpers import (
    DEADLINE,
    all_ready,
    assert_never_fewer_ready,
    connect,
    get,
    judge,
    load,
    request,
    worker_pids,
)
from tests.support.wire import Wire

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path):
    """A copy of the package that a test may change."""
    site = tmp_path / "site"
    ignored = shutil.ignore_patterns("__pycache__", "server", "manager")
    shutil.copytree(ROOT / "uvicorn", site / "uvicorn", ignore=ignored, symlinks=True)
    for name in ("server", "manager"):
        shutil.copytree(ROOT / name, site / "uvicorn" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return site


def start(uvicorn, site, *args, workers=3, **options):
    env = {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    server = uvicorn("--workers", workers, "--no-access-log", *args, app=PID, env=env, **options)
    all_ready(server, workers)
    return server


def usr2(server, generation):
    server.signal(signal.SIGUSR2)
    server.wait_for(rf"Reloaded.*: \d+ workers? of generation {generation} in", timeout=DEADLINE)


def test_two_upgrades_under_load_lose_nothing_and_keep_the_process(uvicorn, site, tmp_path):
    server = start(uvicorn, site, "--pid", tmp_path / "web.pid")
    old = worker_pids(server, 3)
    report = site / "uvicorn" / "manager" / "report.py"
    with load(server) as clients:
        (tmp_path / "app.py").write_text(with_version("two"))
        usr2(server, 2)
        assert {get(server, "/version") for _ in range(10)} == {b"two"}
        (tmp_path / "app.py").write_text(with_version("three"))
        report.write_text(report.read_text().replace('"Reloaded: %d', '"Reloaded by new code: %d'))
        usr2(server, 3)
        assert {get(server, "/version") for _ in range(10)} == {b"three"}
        judge(clients)
    assert_never_fewer_ready(server, 3)
    assert "Reloaded by new code: 3 workers of generation 3" in server.log
    assert server.process.poll() is None
    assert int((tmp_path / "web.pid").read_text()) == server.pid
    assert not set(old) & set(worker_pids(server, 3))
    server.wait_for_descendants(4, DEADLINE)  # one template and three workers
    assert server.stop(DEADLINE) == 0
    assert not (tmp_path / "web.pid").exists()


def test_new_code_that_does_not_start_changes_nothing(uvicorn, site):
    server = start(uvicorn, site)
    old = worker_pids(server, 3)
    master = site / "uvicorn" / "manager" / "master.py"
    source = master.read_text()
    master.write_text("raise RuntimeError('half a deployment')\n")
    with load(server) as clients:
        server.signal(signal.SIGUSR2)
        server.wait_for("Cannot upgrade: the new code does not start", DEADLINE)
        judge(clients)
    assert worker_pids(server, 3) == old
    master.write_text(source)
    usr2(server, 2)


def test_after_an_upgrade_the_master_is_as_able_as_before(uvicorn, site, tmp_path):
    server = start(uvicorn, site, workers=2)
    usr2(server, 2)
    pid = worker_pids(server, 2)[0]
    os.kill(pid, signal.SIGKILL)
    server.wait_for(rf"Worker \d \(pid {pid}\) exited: killed by SIGKILL", DEADLINE)
    all_ready(server, 5)
    (tmp_path / "app.py").write_text(with_version("two"))
    server.signal(signal.SIGHUP)
    server.wait_for("Reloaded: 2 workers of generation 3", DEADLINE)
    assert get(server, "/version") == b"two"
    server.signal(signal.SIGTTIN)
    worker_pids(server, 3)
    assert server.stop(DEADLINE) == 0


def test_a_failed_rollout_after_an_upgrade_leaves_the_old_code_to_preload(uvicorn, site, tmp_path):
    server = start(uvicorn, site, "--preload", workers=2)
    (tmp_path / "app.py").write_text("raise RuntimeError('half a deployment')\n")
    server.signal(signal.SIGUSR2)
    server.wait_for("Reload failed: RuntimeError: half a deployment; generation 1 stays, all of it", DEADLINE)
    for pid in worker_pids(server, 2):
        os.kill(pid, signal.SIGKILL)
    all_ready(server, 4)
    assert get(server, "/version") == b"one"
    (tmp_path / "app.py").write_text(with_version("two"))
    server.signal(signal.SIGHUP)
    server.wait_for("Reloaded: 2 workers of generation 3", DEADLINE)
    assert get(server, "/version") == b"two"
    server.wait_for_descendants(3, DEADLINE)  # one template and two workers
    assert server.stop(DEADLINE) == 0


def test_a_worker_that_an_old_master_started_dies_and_is_reaped_by_the_new_one(uvicorn, site):
    server = start(uvicorn, site, "--timeout-graceful-shutdown", "8", workers=2)
    with connect(server) as wire:
        wire.send(request("/stream"))
        wire.read_some()
        usr2(server, 2)
        assert wire.read_some()  # it drains under the new master
        server.wait_for_descendants(4, DEADLINE)  # a template, two workers and one that drains
    assert server.stop(DEADLINE) == 0


def test_a_unix_socket_survives(uvicorn, site, tmp_path):
    path = tmp_path / "web.sock"
    server = start(uvicorn, site, "--uds", path, workers=2)
    usr2(server, 2)
    assert get(server, "/") == b"hello"
    assert server.stop(DEADLINE) == 0
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
@pytest.mark.parametrize("how", ["link", "anew"])
def test_a_release_in_another_directory_of_the_same_name_is_found(uvicorn, tmp_path, how, number):
    """Code, config file and env file: a link leads to them, or the directory was removed and made again."""
    for release, workers in (("one", 2), ("two", 3)):
        (tmp_path / release).mkdir()
        (tmp_path / release / "app.py").write_text(PID.replace('"one"', f'os.environ["WHERE"] + "{release}"'))
        (tmp_path / release / ".env").write_text(f"WHERE=env-{release}-code-\n")
        (tmp_path / release / "uvicorn.toml").write_text(f"workers = {workers}\n")
    current = tmp_path / "current"
    if how == "link":
        current.symlink_to("one")
    else:
        (tmp_path / "one").rename(current)
    server = uvicorn(
        "app:app", "--env-file", ".env", "--uds", "../web.sock", cwd=current, env={"PWD": str(current)}, ready=None
    )
    all_ready(server, 2)
    if how == "link":
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(current)
    else:
        shutil.rmtree(current)
        server.signal(number)
        server.wait_for(r"Cannot (reload|upgrade): the working directory \S+: No such file or directory", DEADLINE)
        (tmp_path / "two").rename(current)
    for _ in range(2):  # and where it has led once it leads again
        seen = len(server.log)
        server.signal(number)
        server.wait_for(r"Reloaded: 3 workers of generation \d+ in", DEADLINE, after=seen)
    with Wire.connect(str(tmp_path / "web.sock"), timeout=DEADLINE) as wire:
        assert wire.request(request("/version", close=True)).body == b"env-two-code-two"
    assert server.stop() == 0
    assert not (tmp_path / "web.sock").exists()
    assert "Traceback" not in server.log
