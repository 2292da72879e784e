"""`BaseReload`: what a program runs, or subclasses, to have its server reloaded.

As it is, it is a thin front of uvicorn.reload. A class that replaces one of the steps (`should_restart`, `restart`,
`iter_py_files`, ...) gets the plain loop instead, in this process, in which these are the steps.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket
from types import FrameType
from typing import Any

from uvicorn._subprocess import ExitEvent, get_subprocess
from uvicorn.config import Config
from uvicorn.errors import UsersError
from uvicorn.reload.jobs import GRACE, TargetJob
from uvicorn.reload.reloader import CLEANUP, Reloader, log_process

HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)

logger = logging.getLogger("uvicorn.error")


class BaseReload:
    reloader_name: str | None = None

    def __init__(self, config: Config, target: Callable[[list[socket] | None], None], sockets: list[socket]) -> None:
        """`target` is called in a fresh process, as `target(sockets=sockets)`; it and the Config must pickle."""
        self.config = config
        self.target = target
        self.sockets = sockets
        self.should_exit: threading.Event = ExitEvent()
        self.pid = os.getpid()
        self.is_restarting = False

    def signal_handler(self, sig: int, frame: FrameType | None) -> None:
        """Note that it is time to end."""
        self.should_exit.set()

    def run(self) -> None:
        """Serve and reload until told to end. Exits with 3 if the target cannot be sent to another process."""
        try:
            if self._is_plain():
                self._run_reloader()
            else:
                self._run_steps()
        except UsersError as error:
            logger.error("%s", error)
            raise SystemExit(error.exit_code) from None

    def _is_plain(self) -> bool:
        """Whether every step is still ours."""
        return all(getattr(type(self), name, None) is step for name, step in self._our_steps().items())

    @classmethod
    def _our_steps(cls) -> dict[str, Any]:
        return dict(_STEPS)

    def _run_reloader(self) -> None:
        # First of all: in a main module without its guard this raises what explains it.
        job = TargetJob(self.config, self.target)
        for sock in self.sockets:
            sock.listen(self.config.backlog)
        reloader = Reloader(job, self.sockets, name=self.reloader_name)
        if isinstance(self.should_exit, ExitEvent):
            self.should_exit.on_set = reloader.stop
        if self.should_exit.is_set():
            return
        reloader.run()
        self.should_exit.set()
        for sock in self.sockets:
            sock.close()

    # -- the steps --

    def _run_steps(self) -> None:
        self.startup()
        for changes in self:
            if changes:
                logger.warning(
                    "%s detected changes in %s. Reloading...",
                    self.reloader_name,
                    ", ".join(map(_display_path, changes)),
                )
                self.restart()
        self.shutdown()

    def pause(self) -> None:
        """Wait for `reload_delay`, or less if it is time to end; then StopIteration."""
        if self.should_exit.wait(self.config.reload_delay):
            raise StopIteration()

    def __iter__(self) -> Iterator[list[Path] | None]:
        return self

    def __next__(self) -> list[Path] | None:
        return self.should_restart()

    def startup(self) -> None:
        """Set the signal handlers and start the process."""
        log_process(f"Started reloader process [%s] using {self.reloader_name}", self.pid, self.reloader_name or "")
        for number in HANDLED_SIGNALS:
            signal.signal(number, self.signal_handler)
        for sock in self.sockets:
            sock.listen(self.config.backlog)
        if self.config.timeout_graceful_shutdown is None:
            self.config.timeout_graceful_shutdown = GRACE
        self._start_process()

    def _start_process(self) -> None:
        self.process = get_subprocess(config=self.config, target=self.target, sockets=self.sockets)
        self.process.start()

    def restart(self) -> None:
        """End the process and start another."""
        self.is_restarting = True
        self._end_process()
        self._start_process()
        self.is_restarting = False

    def _end_process(self) -> None:
        self.process.terminate()
        grace = self.config.timeout_graceful_shutdown
        self.process.join(None if grace is None else grace + CLEANUP)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def shutdown(self) -> None:
        """End the process and close the sockets."""
        self._end_process()
        for sock in self.sockets:
            sock.close()
        log_process("Stopping reloader process [%s]", self.pid)

    def should_restart(self) -> list[Path] | None:
        """Return the files that changed, if any, after a pause."""
        raise NotImplementedError("a reloader says what changed in should_restart()")


_STEPS = {
    name: getattr(BaseReload, name)
    for name in ("signal_handler", "pause", "__iter__", "__next__", "startup", "restart", "shutdown")
}


def _display_path(path: Path) -> str:
    """Return a path as the log shows it: in quotes, relative to the working directory if it lies below it."""
    with contextlib.suppress(ValueError):
        return f"'{path.relative_to(Path.cwd())}'"
    return f"'{path}'"
