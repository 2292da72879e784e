"""Type=notify-reload of systemd 253: what it demands of a service, demanded by a service manager of the test's own.

systemd.service(5): at a reload the manager sends SIGHUP and waits for RELOADING=1 with, in the same message, a
MONOTONIC_USEC= that is not before the signal; then for READY=1. Messages of other processes than the main one do not
count. A reload job that never sees this ends by a time-out, as failed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import free_port
from tests.support.systemd_lab import Lab, missing

from .helpers import HERE, get, pids
from .units import Web

DEADLINE = 30  # seconds for a message
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: unix(7)


class NotifyReload:
    """The manager's side of the conversation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.main = 0
        self.status = ""
        self._heard: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._sock.bind(str(path))
        # Read at once, as systemd does: the kernel keeps only a few datagrams.
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, ancillary, _, _ = self._sock.recvmsg(4096, socket.CMSG_SPACE(CREDENTIALS.size))
                if not data:
                    return
                fields = dict(line.split("=", 1) for line in data.decode().splitlines())
                self._heard.put(fields | {"sender": str(CREDENTIALS.unpack(ancillary[0][2])[0])})

    def _next(self, awaited: str) -> dict[str, str]:
        try:
            fields = self._heard.get(timeout=DEADLINE)
        except queue.Empty:
            raise AssertionError(f"no {awaited} in {DEADLINE} s; the status is {self.status!r}") from None
        assert int(fields["sender"]) == self.main, f"{fields} of another process than {self.main}"
        self.status = fields.get("STATUS", self.status)
        return fields

    def wait_for(self, name: str, not_before: int = 0) -> dict[str, str]:
        """Pass over what a manager in this state passes over."""
        while True:
            fields = self._next(f"{name}=1")
            if fields.get(name) == "1" and int(fields.get("MONOTONIC_USEC", not_before)) >= not_before:
                return fields

    def wait_for_status(self, part: str) -> None:
        while part not in self.status:
            self._next(f"status with {part!r}")

    def reload(self) -> None:
        """What `systemctl reload` does; returns when the job would end."""
        began = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        os.kill(self.main, signal.SIGHUP)
        told = self.wait_for("RELOADING", not_before=began)
        assert int(told["MONOTONIC_USEC"]) >= began
        self.wait_for("READY")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifyReload]:
    manager = NotifyReload(tmp_path / "notify")
    yield manager
    manager.close()


def start(uvicorn: Any, manager: NotifyReload, *options: str, workers: Any = ("--workers", 2)) -> Any:
    environment = {"NOTIFY_SOCKET": str(manager.path)}
    server = uvicorn(*workers, *options, app=(HERE / "app.py").read_text(), env=environment, ready=None)
    manager.main = server.pid
    manager.wait_for("READY")
    return server


def test_a_reload_is_over_when_every_worker_runs_the_new_code(uvicorn: Any, manager: NotifyReload, tmp_path: Path):
    server = start(uvicorn, manager)
    before = pids(server, 2)
    for generation in (2, 3):
        manager.reload()
        seen = {int(get(server).body) for _ in range(20)}  # at once: none of the old ones may answer
        assert not seen & before
        assert server.log.count("Reloaded: ") == generation - 1
        before |= pids(server, 2, without=before)


def test_a_reload_that_fails_is_over_too_and_the_status_says_so(uvicorn: Any, manager: NotifyReload, tmp_path: Path):
    server = start(uvicorn, manager)
    before = pids(server, 2)
    (tmp_path / "app.py").write_text("raise RuntimeError('broken on purpose')")
    manager.reload()
    assert pids(server, 2) == before
    manager.wait_for_status("failed")


def test_a_reload_whose_settings_are_wrong_is_over_too(uvicorn: Any, manager: NotifyReload, tmp_path: Path):
    (tmp_path / "settings.env").write_text("WEB_CONCURRENCY=2\n")
    server = start(uvicorn, manager, "--env-file", "settings.env", workers=())
    before = pids(server, 2)
    (tmp_path / "settings.env").write_text("WEB_CONCURRENCY=many\n")
    manager.reload()
    server.wait_for("Cannot reload: ")
    assert pids(server, 2) == before
    manager.wait_for_status("failed")
    (tmp_path / "settings.env").write_text("WEB_CONCURRENCY=2\n")
    manager.reload()
    manager.wait_for_status("2 of 2 workers ready, generation 2")


def test_a_second_reload_while_the_first_goes_on_ends_as_well(uvicorn: Any, manager: NotifyReload, tmp_path: Path):
    server = start(uvicorn, manager)
    server.signal(signal.SIGHUP)  # somebody's `kill`
    manager.wait_for("RELOADING")
    manager.reload()
    assert get(server).status == 200


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_the_drop_in_is_taken_where_systemd_knows_the_type(tmp_path: Path):
    with Lab(tmp_path) as lab:
        unit = Web(lab, "socket", free_port())
        drop_in = (HERE.parents[1] / "contrib" / "systemd" / "notify-reload.conf").read_text()
        folder = lab.units / f"{unit.name}.d"
        (folder / "notify-reload.conf").write_text(drop_in)
        lab.systemctl("daemon-reload")
        said = lab.run("systemd-analyze", "verify", unit.name).strip()
        unit.start()
        shown = lab.show(unit.name, "Type", "CanReload")
        print(f"systemd {lab.version}: verify {said or 'clean'}, {shown}")
        if lab.version >= 253:
            assert said == ""
            assert shown == {"Type": "notify-reload", "CanReload": "yes"}
            before = pids(unit.port, 2)
            lab.systemctl("reload", unit.name)  # returns when it is over
            assert not pids(unit.port, 2) & before
        else:  # as its comment says
            assert said.endswith("Failed to parse service type, ignoring: notify-reload")
            assert shown == {"Type": "notify", "CanReload": "no"}
        unit.stop()
