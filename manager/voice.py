"""Who speaks when several workers fail for the same reason."""

from __future__ import annotations

import logging
import os


class Voice:
    """The right of one worker of a generation to say why all of them fail.

    A pipe that all workers of a generation share holds one byte; who reads it may log errors until it is ready. As a
    filter of a logger it passes everything below ERROR, and errors only for the one.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ours: bool | None = None

    def is_ours(self) -> bool:
        if self._ours is None:
            try:
                self._ours = bool(os.read(self._fd, 1))
            except OSError:
                self._ours = False
        return self._ours

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR or self.is_ours()
