"""The shipped units under a real systemd: readiness, reload, watchdog, sockets, hardening."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.support.processes import free_port
from tests.support.systemd_lab import Lab, missing
from tests.support.wire import Wire
from uvicorn.ctl import MANAGERS

from .helpers import get, get_json, holders, pids, until, until_held_by
from .units import Web

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def web(lab: Lab) -> Iterator[Callable[..., Web]]:
    made: list[Web] = []

    def make(variant: str = "socket", **kw: str) -> Web:
        made.append(Web(lab, variant, free_port(), **kw))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.mark.parametrize("variant", ["socket", "uds", "template"])
def test_the_units_are_clean_and_exposed_little(web: Callable[..., Web], lab: Lab, variant: str):
    unit = web(variant)
    said = lab.run("systemd-analyze", "verify", *filter(None, [unit.name, unit.socket]))
    assert said.strip() == ""
    exposure = lab.exposure(unit.name)
    print(f"{variant}: verify clean, exposure {exposure}")
    assert exposure <= 1.5


def test_each_variant_is_tested():
    assert set(MANAGERS["systemd"].variants) == {"socket", "uds", "template", "user", "hardened", "notify-reload"}


def test_ready_means_that_every_worker_has_started(web: Callable[..., Web], lab: Lab):
    unit = web(extra="Environment=GATE=open")
    lab.systemctl("start", unit.socket)
    lab.systemctl("start", "--no-block", unit.name)
    until(lambda: unit.journal().count("Waiting for application startup") >= 1, "a worker starts", log=unit.journal)
    assert unit.state == "activating"
    (unit.folder / "open").touch()
    unit.until_state("active")
    workers = {inside: lab.outside(inside) for inside in pids(unit.port, 2)}
    assert get_json(unit.port, "/scope")["server"] == ["127.0.0.1", unit.port]
    environment = get_json(unit.port, "/environ")
    assert [name for name in environment if name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))] == []
    victim, pid = workers.popitem()
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert pids(unit.port, 2, without={victim})


def test_the_first_connection_starts_the_service_and_a_restart_loses_none(web: Callable[..., Web], lab: Lab):
    unit = web()
    lab.systemctl("start", unit.socket)
    assert unit.state == "inactive"
    with Wire.connect(unit.port, timeout=60) as wire:  # waits in systemd's queue
        assert wire.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    unit.until_state("active")
    before = pids(unit.port, 2)
    unit.loses_nothing(lambda: lab.systemctl("restart", unit.name), lambda: pids(unit.port, 2, without=before))


def test_a_reload_is_told_and_loses_nothing(web: Callable[..., Web], lab: Lab):
    unit = web(extra="Environment=GATE=open")
    gate = unit.folder / "open"
    gate.touch()
    unit.start()
    before, master = pids(unit.port, 2), unit.main

    def reload() -> None:
        gate.unlink()
        # The job of a reload may wait for its end: that depends on whether we say RELOADING=1 before `kill` has ended.
        lab.systemctl("reload", "--no-block", unit.name)
        unit.until_state("reloading")
        gate.touch()

    def settled() -> None:
        pids(unit.port, 2, without=before)
        unit.until_state("active")

    unit.loses_nothing(reload, settled)
    assert unit.main == master


def test_a_stop_is_told_and_leaves_nothing(web: Callable[..., Web], lab: Lab):
    unit = web(extra="Environment=SHUTDOWN=1")
    unit.start()
    processes = lab.pids(unit.name)
    assert len(processes) >= 3
    lab.systemctl("stop", "--no-block", unit.socket, unit.name)
    until(lambda: unit.state == "deactivating", "it is deactivating", log=lab.journal)
    unit.until_state("inactive")
    assert lab.show(unit.name, "Result")["Result"] == "success"
    assert not [pid for pid in processes if os.path.exists(f"/proc/{pid}")]
    until_held_by(unit.port, set())


def test_a_master_that_hangs_is_killed_by_the_watchdog(web: Callable[..., Web], lab: Lab):
    unit = web(extra="WatchdogSec=3\nRestart=on-watchdog")
    unit.start()
    before = pids(unit.port, 2)
    os.kill(unit.main, signal.SIGSTOP)
    unit.until_restarted()
    pids(unit.port, 2, without=before)


def test_a_killed_master_takes_its_workers_along_and_comes_back(web: Callable[..., Web], lab: Lab):
    unit = web()
    unit.start()
    before, tree = pids(unit.port, 2), lab.pids(unit.name)
    assert {lab.outside(pid) for pid in before} <= tree
    assert holders(unit.port) - {lab.init} <= tree
    os.kill(unit.main, signal.SIGKILL)
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in tree), "the orphans are gone", log=unit.journal)
    pids(unit.port, 2, without=before)


def test_an_app_that_cannot_start_is_a_failed_unit(web: Callable[..., Web], lab: Lab):
    unit = web(extra="Environment=BROKEN=lifespan\nRestart=no")
    lab.systemctl("start", unit.socket)
    said = lab.systemctl("start", unit.name, check=False)
    assert "failed" in said
    assert lab.show(unit.name, "Result", "ExecMainStatus") == {"Result": "exit-code", "ExecMainStatus": "3"}
    until(lambda: "broken on purpose" in unit.journal(), "the reason is in the journal")


def test_starts_that_fail_again_and_again_end_in_a_failed_unit(web: Callable[..., Web], lab: Lab):
    unit = web(extra="Environment=BROKEN=import\nRestartSec=50ms")
    lab.systemctl("start", "--no-block", unit.name)
    unit.until_state("failed")
    assert lab.show(unit.name, "ExecMainStatus", "NRestarts") == {"ExecMainStatus": "3", "NRestarts": "5"}


def test_an_app_and_commands_below_a_name_with_a_space_are_found(web: Callable[..., Web], lab: Lab):
    unit = web(space=" ")
    assert lab.run("systemd-analyze", "verify", unit.name).strip() == ""
    unit.start()
    assert get(unit.port).status == 200


def test_both_sockets_of_one_unit_are_served(web: Callable[..., Web], lab: Lab):
    unit = web()
    path = f"/srv/web{unit.port}/s"
    folder = lab.units / f"{unit.socket}.d"
    folder.mkdir()
    (folder / "second.conf").write_text(f"[Socket]\nListenStream={path}\n")
    lab.systemctl("daemon-reload")
    unit.start()
    assert get(unit.port).status == 200
    assert get(lab.srv / f"web{unit.port}" / "s").status == 200
    assert f"web = 127.0.0.1:{unit.port}, web = unix:{path}" in lab.journal()


def test_an_instance_of_the_template_serves_its_port(web: Callable[..., Web], lab: Lab):
    unit = web("template")
    unit.start()
    assert len(pids(unit.port, 2)) == 2


def test_the_unix_variant_serves_reloads_and_takes_its_socket_along(web: Callable[..., Web], lab: Lab):
    unit = web("uds")
    unit.start()
    path = f"/run/web{unit.port}/web.sock"
    assert get_json(lab.seen(path), "/scope", headers="X-Forwarded-For: 9.9.9.9\r\n")["client"] == ["9.9.9.9", 0]
    assert lab.run("stat", "-c", "%a %U", path).split() == ["660", "www-data"]
    before = pids(lab.seen(path), 2)

    def settled() -> None:
        pids(lab.seen(path), 2, without=before)
        unit.until_state("active")

    unit.loses_nothing(lambda: lab.systemctl("reload", unit.name), settled, path)
    assert holders(path)
    unit.stop()
    assert "No such file" in lab.run("ls", path, check=False)
    until_held_by(path, set())


def test_a_single_process_is_ready_and_pinged_too(web: Callable[..., Web], lab: Lab):
    unit = web()
    text = (lab.units / unit.name).read_text()
    (lab.units / unit.name).write_text(text.replace(" --workers 2", "").replace("WatchdogSec=30", "WatchdogSec=4"))
    lab.systemctl("daemon-reload")
    unit.start()
    assert lab.outside(int(get(unit.port).body)) == unit.main
    pings = [lab.show(unit.name, "WatchdogTimestampMonotonic")]
    for _ in range(2):
        until(lambda: lab.show(unit.name, "WatchdogTimestampMonotonic") != pings[-1], "a ping", 20, unit.journal)
        pings.append(lab.show(unit.name, "WatchdogTimestampMonotonic"))
    os.kill(unit.main, signal.SIGSTOP)
    unit.until_restarted()
