"""gunicorn with its own asgi worker."""

from __future__ import annotations

from . import Peer, Wanted


class Gunicorn(Peer):
    def command(self, wanted: Wanted) -> list[str]:
        options = ["-k", "asgi", "--bind", f"127.0.0.1:{wanted.port}", "--workers", str(wanted.workers)]
        options += ["--keep-alive", str(wanted.keep_alive), "--asgi-loop", "uvloop"]
        options += ["--access-logfile", "-"] if wanted.access_log else []
        return self.program("gunicorn", wanted.app, *options)


PEER = Gunicorn("gunicorn", ["gunicorn==27.0.1", "uvloop"], ["gunicorn", "--version"])
