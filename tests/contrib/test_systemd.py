"""The shipped units under a real systemd: readiness, reload, watchdog, sockets, hardening."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.load import LoadClient
from tests.support.processes import free_port
from tests.support.systemd_lab import Lab, missing
from tests.support.wire import Wire
from uvicorn.ctl import Values, render

from .helpers import HERE, get, get_json, pids, program, until

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

# Where this Python lies in a home, which the units hide: then, and only for the test, these two are shown again.
HOME = """\
[Service]
ProtectHome=tmpfs
BindReadOnlyPaths={base} {checkout}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


class Web:
    """A unit of the shipped ones in the lab, with a port of its own."""

    def __init__(self, lab: Lab, variant: str, port: int, *, extra: str = "", **values: str) -> None:
        self.lab, self.port = lab, port
        folder = lab.srv / f"web{port}"
        shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("__pycache__", "test_*"))
        folder.chmod(0o755)
        self.folder = folder
        filled = Values(
            directory=f"/srv/web{port}", commands=os.path.dirname(program("uvicorn")), port=port, run=f"/run/web{port}"
        )
        self.units = []
        for name, text in render("systemd", variant, filled).items():
            # A name of its own: several tests share one systemd.
            name = name.replace("uvicorn", f"web{port}", 1)
            text = re.sub(r"(?<=[ =])uvicorn(-uds)?(?=(@%i)?\.socket)", f"web{port}", text)
            text = text.replace("RuntimeDirectory=web\n", f"RuntimeDirectory=web{port}\n")
            (lab.units / name).write_text(text)
            self.units.append(name)
            if name.endswith(".service"):
                self._drop_in(name, extra)
        self.name = next(name for name in self.units if name.endswith(".service")).replace("@", f"@{port}")
        self.socket = next((name.replace("@", f"@{port}") for name in self.units if name.endswith(".socket")), "")
        lab.systemctl("daemon-reload")

    def _drop_in(self, name: str, extra: str) -> None:
        folder = self.lab.units / f"{name}.d"
        folder.mkdir()
        base = Path(sys.base_prefix)
        if base.is_relative_to("/root") or base.is_relative_to("/home"):
            (folder / "home.conf").write_text(HOME.format(base=base, checkout=HERE.parents[1]))
        if extra:
            (folder / "extra.conf").write_text(f"[Service]\n{extra}\n")

    def start(self) -> None:
        self.lab.systemctl("start", self.socket or self.name)
        self.lab.systemctl("start", self.name)

    @property
    def state(self) -> str:
        return self.lab.show(self.name, "ActiveState")["ActiveState"]

    @property
    def main(self) -> int:
        """The master's pid, outside."""
        return self.lab.outside(int(self.lab.show(self.name, "MainPID")["MainPID"])) or 0

    def until_state(self, state: str, timeout: float = 20) -> None:
        until(lambda: self.state == state, f"{self.name} is {state}", timeout, self.lab.journal)

    def stop(self) -> None:
        self.lab.systemctl("stop", *filter(None, [self.socket, self.name]), check=False)
        self.lab.systemctl("reset-failed", check=False)


@pytest.fixture
def web(lab: Lab) -> Iterator[Callable[..., Web]]:
    made: list[Web] = []

    def make(variant: str = "socket", **kw: str) -> Web:
        made.append(Web(lab, variant, free_port(), **kw))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_the_units_are_clean_and_exposed_little(web: Callable[..., Web], lab: Lab):
    for variant in ("socket", "uds", "template"):
        unit = web(variant)
        said = lab.run("systemd-analyze", "verify", *filter(None, [unit.name, unit.socket]))
        assert said.strip() == ""
        table = lab.run("systemd-analyze", "security", "--no-pager", unit.name)
        exposure = re.search(r"Overall exposure level for .*: ([\d.]+)", table)
        assert exposure
        print(f"{variant}: verify clean, exposure {exposure[1]}")
        assert float(exposure[1]) <= 1.5


def test_ready_means_that_every_worker_has_started(web: Callable[..., Web], lab: Lab):
    unit = web(extra="Environment=STARTUP=2")
    lab.systemctl("start", unit.socket)
    began = time.monotonic()
    lab.systemctl("start", unit.name)
    assert time.monotonic() - began >= 2
    assert lab.journal().count("lifespan started") >= 2
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
    with Wire.connect(unit.port, timeout=20) as wire:  # waits in systemd's queue
        assert wire.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    unit.until_state("active")
    fresh = LoadClient(unit.port, connections=3, keep_alive=False, pause=0.02, timeout=20)
    kept = LoadClient(unit.port, connections=3, pause=0.02, timeout=20)
    with fresh, kept:
        before = pids(unit.port, 2)
        lab.systemctl("restart", unit.name)
        pids(unit.port, 2, without=before)
        reports = [fresh.stop(), kept.stop()]
    assert [report.failures for report in reports] == [0, 0], "\n".join(map(str, reports))


def test_a_reload_is_told_and_loses_nothing(web: Callable[..., Web], lab: Lab):
    unit = web(extra="Environment=STARTUP=1")
    unit.start()
    before, master = pids(unit.port, 2), unit.main
    with LoadClient(unit.port, connections=3) as kept, LoadClient(unit.port, connections=2, keep_alive=False) as fresh:
        kept.wait_for_answers(20)
        # The job of a reload may wait for its end: that depends on whether we say RELOADING=1 before `kill` has ended.
        lab.systemctl("reload", "--no-block", unit.name)
        unit.until_state("reloading")
        pids(unit.port, 2, without=before, timeout=20)
        unit.until_state("active")
        reports = [kept.stop(), fresh.stop()]
    assert [report.failures for report in reports] == [0, 0], "\n".join(map(str, reports))
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


def test_a_master_that_hangs_is_killed_by_the_watchdog(web: Callable[..., Web], lab: Lab):
    unit = web(extra="WatchdogSec=2\nRestart=on-watchdog")
    unit.start()
    before = pids(unit.port, 2)
    os.kill(unit.main, signal.SIGSTOP)
    until(lambda: lab.show(unit.name, "NRestarts")["NRestarts"] == "1", "it was restarted", 20, lab.journal)
    pids(unit.port, 2, without=before, timeout=20)


def test_a_killed_master_takes_its_workers_along_and_comes_back(web: Callable[..., Web], lab: Lab):
    unit = web()
    unit.start()
    before = pids(unit.port, 2)
    orphans = [lab.outside(pid) for pid in before]
    assert all(orphans)
    os.kill(unit.main, signal.SIGKILL)
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in orphans), "the orphans are gone", 5)
    pids(unit.port, 2, without=before, timeout=20)


def test_an_app_that_cannot_start_is_a_failed_unit(web: Callable[..., Web], lab: Lab):
    unit = web(extra="Environment=BROKEN=lifespan\nRestart=no")
    lab.systemctl("start", unit.socket)
    said = lab.systemctl("start", unit.name, check=False)
    assert "failed" in said
    assert lab.show(unit.name, "Result", "ExecMainStatus") == {"Result": "exit-code", "ExecMainStatus": "3"}
    assert "broken on purpose" in lab.journal()


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


ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.sendall(b"GET /scope HTTP/1.1\\r\\nHost: a\\r\\nX-Forwarded-For: 9.9.9.9\\r\\nConnection: close\\r\\n\\r\\n")
    print(b"".join(iter(lambda: sock.recv(65536), b"")).decode())
"""


def test_the_unix_variant_serves_and_takes_its_socket_along(web: Callable[..., Web], lab: Lab):
    unit = web("uds")
    unit.start()
    path = f"/run/web{unit.port}/web.sock"
    assert '"client": ["9.9.9.9", 0]' in lab.run(sys.executable, "-c", ASK, path)
    assert lab.run("stat", "-c", "%a %U", path).split() == ["660", "www-data"]
    unit.stop()
    assert "No such file" in lab.run("ls", path, check=False)


def test_a_single_process_is_ready_and_pinged_too(web: Callable[..., Web], lab: Lab):
    unit = web()
    text = (lab.units / unit.name).read_text()
    (lab.units / unit.name).write_text(text.replace(" --workers 2", "").replace("WatchdogSec=30", "WatchdogSec=3"))
    lab.systemctl("daemon-reload")
    unit.start()
    first = int(get(unit.port).body)
    time.sleep(4)  # longer than the watchdog: nothing may happen
    assert int(get(unit.port).body) == first
    assert lab.show(unit.name, "NRestarts")["NRestarts"] == "0"
    os.kill(unit.main, signal.SIGSTOP)
    until(lambda: lab.show(unit.name, "NRestarts")["NRestarts"] == "1", "it was restarted", 20, lab.journal)
