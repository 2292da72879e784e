"""Opening log files again after somebody has moved them away (logrotate)."""

from __future__ import annotations

import logging


def reopen() -> int:
    """Open the files of all logging handlers anew; return how many there were."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    handlers = {id(handler): handler for logger in loggers for handler in logger.handlers}
    count = 0
    for handler in handlers.values():
        if isinstance(handler, logging.FileHandler):
            with handler.lock or _NO_LOCK:
                if handler.stream is not None:
                    handler.stream.flush()
                    handler.stream.close()
                handler.stream = handler._open()
            count += 1
    return count


class _NoLock:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *details: object) -> None:
        pass


_NO_LOCK = _NoLock()
