"""A real systemd as PID 1 of its own namespaces, for tests of units: boots in about a second, gone without a trace.

Inside, /tmp, /run and /var/tmp are private and empty, /etc/systemd/system and /srv are folders of the test, and none
of the distribution's own jobs run (an unmasked systemd-tmpfiles would empty the real /tmp). The rest of the disk and
the network are the host's, so a server inside answers on the host's loopback. Resource controllers may be missing.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from .guard import has_ended, has_started

SYSTEMD = next((path for path in ("/lib/systemd/systemd", "/usr/lib/systemd/systemd") if os.path.exists(path)), None)

INIT = """\
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount --bind {state}/srv /srv
mount --bind {state}/units /etc/systemd/system
for folder in /run /var/tmp /lib/systemd/system/*.target.wants; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
mkdir -p /run/lock /run/systemd/system/sockets.target.wants
ln -s /dev/null /run/systemd/system/systemd-remount-fs.service
for unit in systemd-journald.socket systemd-journald-dev-log.socket; do
    if [ -e /lib/systemd/system/$unit ]; then
        ln -s /lib/systemd/system/$unit /run/systemd/system/sockets.target.wants/
    fi
done
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=1777 tmpfs /tmp
export container=lab
exec {systemd} --log-target=console --log-level=info --show-status=0 --unit=basic.target
"""


def missing() -> str | None:
    """Say what this machine lacks for a lab."""
    if sys.platform != "linux" or SYSTEMD is None:
        return "systemd is not installed"
    if os.getuid() != 0:
        return "a systemd in namespaces needs root"
    hidden = [folder for folder in ("/tmp", "/run", "/var/tmp") if Path(sys.prefix).is_relative_to(folder)]
    if hidden:
        return f"the environment of the tests lies in {hidden[0]}, which a unit with PrivateTmp= does not see"
    for tool in ("unshare", "nsenter", "systemctl"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    try:
        pwd.getpwnam("www-data")
    except KeyError:
        return "there is no user www-data, whom the shipped units name"
    return None


class Lab:
    """A context manager; skips the test, saying why, where a systemd does not come up."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.srv = state / "srv"
        """/srv inside."""
        self.units = state / "units"
        """/etc/systemd/system inside."""
        self._init: int | None = None

    def __enter__(self) -> Lab:
        if why := missing():
            pytest.skip(why)
        for folder in (self.srv, self.units):
            folder.mkdir(parents=True)
            folder.chmod(0o755)
        script = self.state / "init"
        script.write_text(INIT.format(state=self.state, systemd=SYSTEMD))
        self._log = (self.state / "log").open("wb")
        self._outer = subprocess.Popen(
            [
                "unshare",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount",
                "--uts",
                "--ipc",
                "--cgroup",
                "bash",
                str(script),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"]},
            start_new_session=True,
        )
        has_started(self._outer.pid)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._outer.poll() is None:
            init = self._systemd()
            if init is not None:
                self._init = init
                if self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded"):
                    return self
            time.sleep(0.05)
        self.__exit__()
        pytest.skip(f"no systemd came up in namespaces: {(self.state / 'log').read_text()[-300:]}")

    def _systemd(self) -> int | None:
        """The pid of the systemd, once the script has become it; None before and when it is gone."""
        try:
            for pid in Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split():
                return int(pid) if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd" else None
        except OSError:
            pass
        return None

    def __exit__(self, *_: object) -> None:
        if self._init is not None and self._outer.poll() is None:
            os.kill(self._init, 9)  # PID 1 of a namespace takes everything in it along
        elif self._outer.poll() is None:
            os.killpg(self._outer.pid, 9)
        self._outer.wait(60)
        has_ended(self._outer.pid)
        self._log.close()

    def run(self, *command: str, check: bool = True, timeout: float = 180) -> str:
        """Run a command inside; returns what it printed, standard error included."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._init), "-a", *command],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={"PATH": os.environ["PATH"]},
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}\n{self.journal()}")
        return done.stdout + done.stderr

    def systemctl(self, *words: str, check: bool = True) -> str:
        return self.run("systemctl", *words, check=check)

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        printed = self.systemctl("show", unit, f"--property={','.join(names)}")
        return dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)

    @property
    def init(self) -> int:
        """The pid of its systemd, outside."""
        assert self._init is not None
        return self._init

    @property
    def version(self) -> int:
        return int(self.run("systemctl", "--version").split()[1])

    def seen(self, path: str) -> str:
        """Where a path inside is seen outside."""
        return f"/proc/{self.init}/root{path}"

    def exposure(self, unit: str, *options: str, as_user: Sequence[str] = ()) -> float:
        """What `systemd-analyze security` gives a unit, from 0 to 10; `as_user`: the command that becomes its user."""
        table = self.run(*as_user, "systemd-analyze", *options, "security", "--no-pager", unit)
        found = re.search(r"Overall exposure level for .*: ([\d.]+)", table)
        assert found, table
        return float(found[1])

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "-o", "cat", check=False)

    def pids(self, unit: str) -> set[int]:
        """The processes of a unit, by their pids outside."""
        group = self.show(unit, "ControlGroup")["ControlGroup"]
        inside = self.run("cat", f"/sys/fs/cgroup{group}/cgroup.procs", check=False).split() if group else []
        return {outside for pid in inside if pid.isdigit() and (outside := self.outside(int(pid)))}

    def outside(self, inside: int) -> int | None:
        """The pid outside of a process whose pid inside is this."""
        for name in os.listdir("/proc"):
            if name.isdigit() and os.path.exists(f"/proc/{name}/ns/pid"):
                try:
                    if not os.path.samefile(f"/proc/{name}/ns/pid", f"/proc/{self._init}/ns/pid"):
                        continue
                    status = Path(f"/proc/{name}/status").read_text()
                except OSError:
                    continue
                ids = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
                if int(ids[-1]) == inside:
                    return int(name)
        return None
