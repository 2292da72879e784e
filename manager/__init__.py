"""The master process: it starts workers, replaces them, and stops them without losing a request.

It knows workers, sockets and signals, and nothing of HTTP.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.settings import Provenance, Settings

    from .recipe import Source

STARTUP_FAILURE = 3


def run_command(settings: Settings, provenance: Provenance) -> int:
    """Be the master of the command; return the exit code: 0 if asked to stop, 3 if it could not serve.

    `provenance` says which settings were given where; a reload reads all but those of the command line again.
    """
    from .recipe import CommandSource

    return _run(lambda: CommandSource(settings, provenance), hosted=False)


def run_config(config: Config) -> int:
    """Be the master for a program that made a Config; return the exit code as `run_command` does.

    The caller's process is the master: only the pids that we started are reaped, signal handlers and the subreaper flag
    are set for the call and restored. Must be called in the main thread (ValueError). The Config must pickle.
    """
    from .recipe import ConfigSource

    return _run(lambda: ConfigSource(config), hosted=True)


def _run(make_source: object, *, hosted: bool) -> int:
    from uvicorn.errors import UsersError
    from uvicorn.listeners import open_listeners

    from .master import Master
    from .process import AVAILABLE, subreaper

    logger = logging.getLogger("uvicorn.error")
    if not AVAILABLE:
        logger.error("Workers need Linux 5.4 or later (pidfd, memfd); use workers=1 here")
        return STARTUP_FAILURE
    try:
        source: Source = make_source()  # type: ignore[operator]
        listeners = open_listeners(source.config)
    except UsersError as error:
        logger.error("%s", error)
        return error.exit_code
    try:
        with subreaper():
            return Master(source, listeners, hosted=hosted).run()
    except UsersError as error:
        logger.error("%s", error)
        return error.exit_code
    finally:
        for listener in listeners:
            listener.close()
