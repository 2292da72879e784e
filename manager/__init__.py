"""The master process: it starts workers, replaces them, and stops them without losing a request.

It knows workers, sockets and signals, and nothing of HTTP.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socket import socket

    from uvicorn.config import Config
    from uvicorn.settings import Provenance, Settings

    from .recipe import Source


def run_command(settings: Settings, provenance: Provenance) -> int:
    """Be the master of the command; return the exit code: 0 if asked to stop, 3 if it could not serve.

    `provenance` says which settings were given where; a reload reads all but those of the command line again.
    """
    # The command has put the application's directory first, and nothing of ours may be found there: our own imports of
    # `selectors` or `socket` are still to come, and the application is no concern of this process.
    sys_path = list(sys.path)
    if settings.app_dir in sys.path:
        sys.path.remove(settings.app_dir)
        sys.path.append(settings.app_dir)

    gc.disable()  # until the loop begins: what is imported stays
    try:
        from .recipe import CommandSource

        return _run(lambda: CommandSource(settings, provenance, sys_path), hosted=False)
    finally:
        gc.enable()


def run_config(
    config: Config,
    sockets: Sequence[socket] | None = None,
    *,
    tell: Callable[[Callable[[], None]], None] | None = None,
) -> int:
    """Be the master for a program that made a Config; return the exit code as `run_command` does.

    `sockets`: bound by the caller, who has logged where they are; they are closed at the end. `tell` is called with
    what ends it all, for any thread.

    The caller's process is the master: only the pids that we started are reaped, signal handlers and the subreaper flag
    are set for the call and restored. Must be called in the main thread (ValueError). The Config must pickle.
    """
    from .recipe import ConfigSource

    return _run(lambda: ConfigSource(config), hosted=True, sockets=sockets, tell=tell)


def _run(
    make_source: Callable[[], Source],
    *,
    hosted: bool,
    sockets: Sequence[socket] | None = None,
    tell: Callable[[Callable[[], None]], None] | None = None,
) -> int:
    import contextlib
    import logging

    from uvicorn.errors import STARTUP_FAILURE, UsersError
    from uvicorn.listeners import Listener, open_listeners

    from . import alone
    from .master import Master
    from .process import AVAILABLE, subreaper

    logger = logging.getLogger("uvicorn.error")
    if not AVAILABLE:
        logger.error("Workers need Linux 5.4 or later (pidfd, memfd); use workers=1 here")
        return STARTUP_FAILURE
    try:
        source = make_source()
        config = source.config
        credentials = alone.check(config)
        with contextlib.ExitStack() as stack:
            pid_file = alone.take_pid_file(config, stack)
            listeners = open_listeners(config) if sockets is None else [Listener(sock) for sock in sockets]
            for listener in listeners:
                stack.callback(listener.close)
            alone.give_paths(listeners, credentials)
            stack.enter_context(subreaper())
            master = Master(source, listeners, hosted=hosted, announced=sockets is not None, pid_file=pid_file)
            if tell is not None:
                tell(master.end)
            return master.run()
    except UsersError as error:
        from uvicorn.failures import report

        report(error)
        return error.exit_code
