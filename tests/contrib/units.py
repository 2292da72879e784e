"""The shipped units in a lab of their own, each under a name and on a port that no other test has."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.systemd_lab import Lab
from uvicorn.ctl import Values, render

from .caught import assert_nothing_lost
from .helpers import HERE, program, until

# Where this Python lies in a home, which the units hide: then, and only for the test, these two are shown again.
HOME = """\
[Service]
ProtectHome=tmpfs
BindReadOnlyPaths={base} {checkout}
"""


class Web:
    """A unit of the shipped ones in the lab, with a port of its own."""

    def __init__(self, lab: Lab, variant: str, port: int, *, extra: str = "", space: str = "") -> None:
        self.lab, self.port = lab, port
        folder = lab.srv / f"web{space}{port}"
        shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("__pycache__", "test_*"))
        folder.chmod(0o755)
        self.folder = folder
        commands = os.path.dirname(program("uvicorn"))
        if space:
            (folder / "the commands").symlink_to(commands)
            commands = f"/srv/{folder.name}/the commands"
        filled = Values(directory=f"/srv/{folder.name}", commands=commands, port=port, run=f"/run/web{port}")
        self.units = []
        for name, text in render("systemd", variant, filled).items():
            # A name of its own: several tests share one systemd.
            name = name.replace("uvicorn", f"web{port}", 1)
            text = re.sub(r"(?<=[ =])uvicorn(-uds)?(?=(@%i)?\.socket)", f"web{port}", text)
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

    def until_state(self, state: str, timeout: float = 60) -> None:
        until(lambda: self.state == state, f"{self.name} is {state}", timeout, self.lab.journal)

    def until_restarted(self) -> None:
        def restarts() -> int:
            return int(self.lab.show(self.name, "NRestarts")["NRestarts"])

        until(lambda: restarts() > 0, f"{self.name} was restarted", 30, self.lab.journal)

    def stop(self) -> None:
        self.lab.systemctl("stop", *filter(None, [self.socket, self.name]), check=False)
        self.lab.systemctl("reset-failed", check=False)

    def journal(self) -> str:
        """What the unit has logged."""
        return self.lab.run("journalctl", "--no-pager", "-o", "cat", "-u", self.name, check=False)

    def loses_nothing(self, act: Callable[[], object], settled: Callable[[], object], path: str = "") -> None:
        """`path`: of a UNIX socket inside the lab, instead of the port."""
        assert_nothing_lost(
            self.lab.seen(path) if path else self.port,
            self.folder,
            act,
            leaving=lambda: self.journal().count("Shutting down"),
            moments=2,
            settled=settled,
            log=self.journal,
        )
