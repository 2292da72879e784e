"""Opening log files again after somebody has moved them away (logrotate)."""

from __future__ import annotations

import contextlib
import logging

logger = logging.getLogger("uvicorn.error")


def reopen() -> int:
    """Open the files of all logging handlers anew; return how many were.

    What cannot be opened is said, and the file that is open is written to: a worker that has become another user may
    not have the right to, and neither it nor the master is to end for a log.
    """
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    handlers = {id(handler): handler for logger in loggers for handler in logger.handlers}
    count = 0
    failures = []
    for handler in handlers.values():
        if isinstance(handler, logging.FileHandler):
            with handler.lock or _NO_LOCK:
                try:
                    after = handler._open()
                except OSError as error:
                    failures.append(error)
                    continue
                before, handler.stream = handler.stream, after
            if before is not None:
                with contextlib.suppress(OSError):  # the disk is full: what waited to be written is lost
                    before.close()
            count += 1
    for failure in failures:
        logger.error("Cannot open a log file again: %s; writing to the one that is open", failure)
    return count


class _NoLock:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *details: object) -> None:
        pass


_NO_LOCK = _NoLock()
