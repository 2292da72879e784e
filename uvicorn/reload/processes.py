"""Child and watcher as the reloader sees them, and how they are started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from uvicorn.importer import the_servers_modules
from uvicorn.manager import alone
from uvicorn.manager.process import ExitStatus

from .filters import Filter
from .jobs import Job
from .link import HELD_BACK, Link

# Nothing of the user's may be found before what it shadows is imported: not the module `signal` in his working
# directory. So those paths come last until the server is imported; then they go where they were.
_BOOTSTRAP = "; ".join(
    (
        "import sys",
        "sys.path[:] = [path for path in sys.path if path]",
        "import json",
        "paths, late = json.loads(sys.argv[2])",
        "sys.path[:] = [path for path in paths if path not in late] + [path for path in paths if path in late]",
        "from uvicorn.reload.{} import main",
        "main(int(sys.argv[1]))",
    )
)


class Started:
    """A process of ours with a link to it."""

    def __init__(self, module: str, job: Job, *, pass_fds: Sequence[int] = ()) -> None:
        self.link, theirs = Link.pair()
        self.born = time.monotonic()
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        paths = [job.sys_path, job.late_paths]
        import json

        mask = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)  # inherited
        try:
            self.process = subprocess.Popen(
                [sys.executable, *flags, "-c", _BOOTSTRAP.format(module), str(theirs.fileno()), json.dumps(paths)],
                pass_fds=(theirs.fileno(), *pass_fds),
            )
        except BaseException:
            self.link.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()
        self.pid = self.process.pid

    def status(self) -> ExitStatus | None:
        """Return how it ended; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        return ExitStatus(code=code) if code >= 0 else ExitStatus(signal=-code)

    def end(self) -> None:
        """Kill it and wait for its end."""
        self.process.kill()
        self.process.wait()
        self.link.close()


class Child(Started):
    """The process that serves, or that waits to be the next one."""

    def __init__(
        self,
        job: Job,
        *,
        listeners: Sequence[int],
        directory: str,
        environ: Mapping[str, str],
        modules: Sequence[str] = (),
        stamp: Any = None,
    ) -> None:
        super().__init__("child_main", job, pass_fds=listeners)
        self.stamp = stamp
        """What must not have changed for the modules that it imported in advance to be those of today."""
        self.ready = False
        self.told_at: float | None = None
        """When it was asked to end."""
        self.forced: float | None = None
        """When it was told to end at once."""
        self.killed = False
        self.link.send(
            {
                "parent": os.getpid(),
                "argv": list(sys.argv),
                **alone.for_child(job.config, directory),
                "environ": dict(environ),
                "sys_path": job.sys_path,
                "listeners": list(listeners),
                "server": the_servers_modules(job.config.loop, job.config.http, job.config.ws),
                "modules": list(modules),
            }
        )

    def go(self, order: dict[str, Any]) -> None:
        """Let it import the application and serve."""
        self.born = time.monotonic()
        self.link.send(order)

    def tell(self, number: int) -> None:
        if self.told_at is None:
            self.told_at = time.monotonic()
        self.process.send_signal(number)

    def force(self) -> None:
        """Have it leave what it waits for: a second SIGINT, which a terminal may have sent it already."""
        self.forced = self.forced or time.monotonic()
        self.tell(signal.SIGINT)


class Watcher(Started):
    """The process that watches the files."""

    def __init__(self, job: Job, filter: Filter, *, poll: bool, since: int, settings: str | None = None) -> None:
        """`since`: changes after this moment are reported, in ns since the epoch.

        With `settings`, as JSON, it logs them itself, and sends SIGHUP.
        """
        super().__init__("watch_main", job)
        self.link.send(
            {
                "parent": os.getpid(),
                "filter": filter.to_json(),
                "delay": job.config.reload_delay,
                "poll": poll,
                "since": since,
                "settings": settings,
            }
        )
