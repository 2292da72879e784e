"""--reload: serve from a child process, and replace it when a file changes. For development."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.settings import Provenance, Settings


def run_command(settings: Settings, provenance: Provenance) -> int:
    """Be the reloader of the command; return the exit code: 0 if asked to stop, 3 if it could not listen."""
    if settings.workers > 1 or settings.manager:
        from uvicorn.manager.process import AVAILABLE

        if AVAILABLE:
            return _run_workers(settings, provenance)
    sys_path = list(sys.path)
    # The command has put the application's directory first; nothing of ours may be found there.
    if settings.app_dir in sys.path:
        sys.path.remove(settings.app_dir)
        sys.path.append(settings.app_dir)
    import contextlib
    import logging

    from uvicorn.errors import UsersError
    from uvicorn.listeners import open_listeners, running_lines
    from uvicorn.manager import alone

    from .jobs import CommandJob
    from .reloader import Reloader

    logger = logging.getLogger("uvicorn.error")
    try:
        job = CommandJob(settings, provenance, sys_path)
        with contextlib.ExitStack() as stack:
            credentials = alone.check(job.config)
            alone.take_pid_file(job.config, stack)
            listeners = open_listeners(job.config)
            for listener in listeners:
                stack.callback(listener.close)
            alone.give_paths(listeners, credentials)
            for listener in listeners:
                listener.listen(job.config.backlog)
            for message, color_message, args in running_lines(listeners, job.config):
                logger.info(message, *args, extra={"color_message": color_message})
            return Reloader(job, [listener.sock for listener in listeners]).run()
    except UsersError as error:
        from uvicorn.failures import report

        report(error)
        return error.exit_code


def _run_workers(settings: Settings, provenance: Provenance) -> int:
    """Be a master whose workers are replaced one after the other when a file changes; return its exit code.

    What watches is a process beside the workers, which sends the master SIGHUP.
    """
    import signal
    import time

    from uvicorn.errors import UsersError
    from uvicorn.manager import run_command
    from uvicorn.manager.signals import nothing

    from .filters import Filter
    from .jobs import GRACE, NO_RELOAD, CommandJob
    from .processes import Watcher

    since = time.time_ns()
    try:
        watching = CommandJob(settings.replace(workers=1, manager=False, env_file=None), provenance, list(sys.path))
    except UsersError as error:
        from uvicorn.failures import report

        report(error)
        return error.exit_code
    changes = dict(NO_RELOAD)
    if settings.timeout_graceful_shutdown is None:
        changes["timeout_graceful_shutdown"] = GRACE
    if "timeout_worker_healthcheck" not in provenance:
        changes["timeout_worker_healthcheck"] = 0.0  # whoever sits in a debugger is not to be replaced
    # As if they had been given: what the master reads again at each reload must not bring them back.
    provenance = {**provenance, **{name: f"--{name.replace('_', '-')}" for name in changes}}
    settings = settings.replace(**changes)
    signal.signal(signal.SIGHUP, nothing)  # until the master handles it; what it starts then is new anyway
    watcher = Watcher(
        watching,
        Filter.of(watching.config),
        poll=find_spec("watchfiles") is None,
        since=since,
        settings=settings.replace(workers=1, env_file=None).to_json(),
    )
    try:
        return run_command(settings, provenance)
    finally:
        watcher.end()
