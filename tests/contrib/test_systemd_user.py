"""The user unit under a user's own systemd."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import free_port
from tests.support.systemd_lab import Lab, missing
from uvicorn.ctl import Values, render

from .caught import assert_nothing_lost
from .helpers import HERE, pids, program, until, until_held_by

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

USER, HOME, RUN = "www-data", "/run/home", "/run/user/33"
UNIT = "uvicorn-user.service"
# What `login` would set up, without logind: a home, a runtime directory, a manager with a cgroup of its own. A Python
# that lies in root's home is shown to others.
SETUP = """\
mkdir -p {run} {home}/.config/systemd/user
chown -R {user} {run} {home}
chmod 700 {run}
case {base} in
{roots}/*)
    mkdir /run/base
    mount --bind {base} /run/base
    mount -t tmpfs -o mode=755 tmpfs {roots}
    mkdir -p {base}
    mount --bind /run/base {base} ;;
esac
systemd-run --quiet --unit=manager -p User={user} -p Delegate=yes -p Type=notify -E XDG_RUNTIME_DIR={run} \
    -E HOME={home} /lib/systemd/systemd --user
"""
AS_USER = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "env", f"HOME={HOME}"]
AS_USER += [f"XDG_RUNTIME_DIR={RUN}"]


class Managed:
    def __init__(self, lab: Lab, folder: Path, port: int) -> None:
        self.lab, self.folder, self.port = lab, folder, port

    def ctl(self, *words: str) -> str:
        return self.lab.run(*AS_USER, "systemctl", "--user", *words, check=False)

    def show(self, name: str) -> str:
        return self.ctl("show", UNIT, f"--property={name}", "--value").strip()

    def journal(self) -> str:
        return self.lab.journal()  # nothing else runs here

    def tree(self) -> set[int]:
        listed = self.lab.run("cat", f"/sys/fs/cgroup{self.show('ControlGroup')}/cgroup.procs", check=False).split()
        return {outside for pid in listed if pid.isdigit() and (outside := self.lab.outside(int(pid)))}


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[Managed]:
    with Lab(tmp_path) as lab:
        shutil.copy(HERE / "app.py", lab.srv)
        port = free_port()
        lab.run(
            "sh", "-ec", SETUP.format(run=RUN, home=HOME, user=USER, base=sys.base_prefix, roots=pwd.getpwuid(0).pw_dir)
        )
        values = Values(directory="/srv", commands=os.path.dirname(program("uvicorn")), port=port)
        ((name, text),) = render("systemd", "user", values).items()
        assert name == UNIT
        Path(lab.seen(f"{HOME}/.config/systemd/user/{UNIT}")).write_text(text)
        yield Managed(lab, lab.srv, port)


def test_a_user_starts_reloads_and_stops_a_service(managed: Managed):
    said = managed.lab.run(*AS_USER, "systemd-analyze", "--user", "verify", UNIT)
    exposure = managed.lab.exposure(UNIT, "--user", as_user=AS_USER)
    print(f"user: verify {said.strip() or 'clean'}, exposure {exposure}")
    assert said.strip() == ""
    assert exposure <= 6.5  # files cannot be hidden without root
    managed.ctl("daemon-reload")
    # As the file's own comment has it.
    assert "Created symlink" in managed.ctl("enable", "--now", "uvicorn-user"), managed.journal()
    assert managed.show("ActiveState") == "active"
    first = pids(managed.port, 2)
    os.kill(managed.lab.outside(min(first)) or 0, signal.SIGKILL)
    healed = pids(managed.port, 2, without={min(first)})

    def settled() -> None:
        pids(managed.port, 2, without=healed)
        until(lambda: managed.show("ActiveState") == "active", "the reload is over", log=managed.journal)

    assert_nothing_lost(
        managed.port,
        managed.folder,
        lambda: managed.ctl("reload", "uvicorn-user"),
        leaving=lambda: managed.journal().count("Shutting down"),
        moments=2,
        settled=settled,
        log=managed.journal,
    )
    tree = managed.tree()
    os.kill(managed.lab.outside(int(managed.show("MainPID"))) or 0, signal.SIGKILL)
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in tree), "the orphans are gone", log=managed.journal)
    pids(managed.port, 2)
    managed.ctl("stop", "uvicorn-user")
    assert managed.show("Result") == "success"
    until_held_by(managed.port, set())


def test_namespaces_of_the_users_own_hide_the_rest(managed: Managed):
    lab = managed.lab
    if "may" not in lab.run(*AS_USER, "sh", "-c", "unshare --user --mount true && echo may", check=False):
        pytest.skip("users may make no namespaces here")
    ((name, text),) = render("systemd", "hardened", Values()).items()
    folder = Path(lab.seen(f"{HOME}/.config/systemd/user/{UNIT}.d"))
    folder.mkdir()
    (folder / name).write_text(text)
    # Elsewhere the system's systemd has made it, for the first of its own units that is put into a namespace.
    lab.run("mkdir", "-p", "/run/systemd/unit-root")
    managed.ctl("daemon-reload")
    said = lab.run(*AS_USER, "systemd-analyze", "--user", "verify", UNIT).strip()
    exposure = lab.exposure(UNIT, "--user", as_user=AS_USER)
    print(f"user, hardened: verify {said or 'clean'}, exposure {exposure}")
    assert said == ""
    assert exposure <= 1.5
    managed.ctl("start", UNIT)
    assert managed.show("ActiveState") == "active", managed.journal()
    assert len(pids(managed.port, 2)) == 2
    managed.ctl("stop", UNIT)
    assert managed.show("Result") == "success"
