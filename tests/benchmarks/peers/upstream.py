"""Upstream uvicorn, with the options of ours."""

from __future__ import annotations

from . import Peer, Wanted


class Upstream(Peer):
    def command(self, wanted: Wanted) -> list[str]:
        options = ["--port", str(wanted.port), "--workers", str(wanted.workers), "--http", wanted.http or "httptools"]
        options += ["--loop", "uvloop", "--timeout-keep-alive", str(wanted.keep_alive)]
        options += [] if wanted.access_log else ["--no-access-log"]
        return self.program("python", "-m", "uvicorn", wanted.app, *options)


PEER = Upstream(
    "upstream", ["uvicorn[standard]==0.54.0"], ["python", "-m", "uvicorn", "--version"], frozenset({None, "h11"})
)
