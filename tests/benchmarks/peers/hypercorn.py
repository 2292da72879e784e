"""Hypercorn."""

from __future__ import annotations

from . import Peer, Wanted


class Hypercorn(Peer):
    def command(self, wanted: Wanted) -> list[str]:
        options = ["--bind", f"127.0.0.1:{wanted.port}", "--workers", str(wanted.workers)]
        options += ["--worker-class", "uvloop", "--keep-alive", str(wanted.keep_alive)]
        options += ["--access-logfile", "-"] if wanted.access_log else []
        return self.program("hypercorn", wanted.app, *options)


PEER = Hypercorn(
    "hypercorn",
    ["hypercorn==0.18.0", "uvloop"],
    ["python", "-c", "from importlib.metadata import version; print('hypercorn', version('hypercorn'))"],
)
