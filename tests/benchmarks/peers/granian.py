"""Granian, whose HTTP is Rust's hyper."""

from __future__ import annotations

from . import Peer, Wanted


class Granian(Peer):
    def command(self, wanted: Wanted) -> list[str]:
        options = ["--interface", "asgi", "--host", "127.0.0.1", "--port", str(wanted.port)]
        options += ["--workers", str(wanted.workers), "--loop", "uvloop", "--http", "1"]
        options += ["--backlog", "8192"]  # also its limit of open connections, by default 1,024
        options += ["--respawn-failed-workers"] if wanted.workers > 1 else []
        options += ["--access-log"] if wanted.access_log else ["--log-level", "warning"]
        return self.program("granian", *options, wanted.app)


PEER = Granian("granian", ["granian==2.8.7", "uvloop"], ["granian", "--version"])
