"""This checkout, installed as a user has it: from its wheel, not editable, beside nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.building import ROOT, build, copy_checkout

from . import Peer, Wanted


class Ours(Peer):
    def install(self) -> None:
        """Make its environment, and put the checkout as it is now into it."""
        super().install()
        with TemporaryDirectory(prefix="bench-") as folder:
            wheel = build("build_wheel", copy_checkout(Path(folder, "checkout")), Path(folder, "wheel"))
            self.pip_install("--force-reinstall", "--no-deps", str(wheel))

    def command(self, wanted: Wanted) -> list[str]:
        options = ["--port", str(wanted.port), "--workers", str(wanted.workers), "--http", wanted.http or "httptools"]
        options += ["--loop", "uvloop", "--timeout-keep-alive", str(wanted.keep_alive)]
        options += [] if wanted.access_log else ["--no-access-log"]
        return self.program("python", "-m", "uvicorn", wanted.app, *options)


LIBRARIES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["standard"]

PEER = Ours("ours", ["click", "h11", *LIBRARIES], ["python", "-m", "uvicorn", "--version"], frozenset({None, "h11"}))
