"""--reload: serve from a child process, and replace it when a file changes. For development."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.settings import Provenance, Settings


def run_command(settings: Settings, provenance: Provenance) -> int:
    """Be the reloader of the command; return the exit code: 0 if asked to stop, 3 if it could not listen."""
    sys_path = list(sys.path)
    # The command has put the application's directory first; nothing of ours may be found there.
    if settings.app_dir in sys.path:
        sys.path.remove(settings.app_dir)
        sys.path.append(settings.app_dir)
    import logging

    from uvicorn.errors import UsersError
    from uvicorn.listeners import open_listeners, running_lines

    from .jobs import CommandJob
    from .reloader import Reloader

    logger = logging.getLogger("uvicorn.error")
    try:
        job = CommandJob(settings, provenance, sys_path)
        listeners = open_listeners(job.config)
    except UsersError as error:
        logger.error("%s", error)
        return error.exit_code
    try:
        for listener in listeners:
            listener.listen(job.config.backlog)
        for message, color_message, args in running_lines(listeners, job.config):
            logger.info(message, *args, extra={"color_message": color_message})
        return Reloader(job, [listener.sock for listener in listeners]).run()
    except UsersError as error:
        logger.error("%s", error)
        return error.exit_code
    finally:
        for listener in listeners:
            listener.close()
