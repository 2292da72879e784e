"""One line per request in the log `uvicorn.access`, without the price of a log record.

With the default handlers and formatter everything about a line is known beforehand but client, path and status. So the
formatter is asked once for each status what it prints around them, and the lines of one turn of the event loop are
written together. A line is on its way at most one turn after its response has begun.

Whoever has touched the machinery gets what it gives: with a handler, formatter, filter or logger class that is not the
plain one, or with a method of `logging` replaced (error trackers and tracers do that), each line is an ordinary record
with `args = (client, method, path, http_version, status)`. This is looked at anew in each turn of the loop that logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any, TextIO
from urllib.parse import quote

from uvicorn.log_config import makes_plain_records
from uvicorn.logging import AccessFormatter

from .utils import get_client_addr, get_path_with_query_string, printable_query

MESSAGE = '%s - "%s %s HTTP/%s" %d'

_DEFAULT_FORMAT = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'
_PATHS = 2048  # quoted paths that are remembered
_PATH_LENGTH = 256  # longer ones are not: the table must stay small whatever is asked for
_STATUSES = 1000

_PLAIN_FILES = {logging.LogRecord.__init__.__code__.co_filename, AccessFormatter.__init__.__code__.co_filename}
_LOGGER_METHODS = frozenset({"info", "_log", "makeRecord", "handle", "callHandlers", "isEnabledFor", "filter"})
_HANDLER_METHODS = frozenset({"handle", "emit", "format", "flush", "filter"})


def _functions(
    logger: type[logging.Logger] = logging.Logger,
    stream: type[logging.StreamHandler[Any]] = logging.StreamHandler,
    file: type[logging.FileHandler] = logging.FileHandler,
    formatter: type[AccessFormatter] = AccessFormatter,
    record: type[logging.LogRecord] = logging.LogRecord,
) -> tuple[Any, ...]:
    """Return every function that a record would pass through, as its class has it now. Spelled out: it runs often."""
    return (
        logging.getLogRecordFactory(),
        logger.info,
        logger._log,
        logger.makeRecord,
        logger.handle,
        logger.callHandlers,
        logger.isEnabledFor,
        logger.filter,
        stream.handle,
        stream.emit,
        stream.format,
        stream.flush,
        stream.filter,
        file.handle,
        file.emit,
        file.format,
        file.flush,
        file.filter,
        formatter.format,
        formatter.formatMessage,
        formatter.usesTime,
        formatter.get_status_code,
        formatter.color_level_name,
        record.__init__,
        record.getMessage,
    )


def _is_plain(function: object) -> bool:
    return type(function) is FunctionType and function.__code__.co_filename in _PLAIN_FILES


class _Plain:
    """The verdict on everything global: whether `logging` is as the standard library has it."""

    def __init__(self) -> None:
        self._seen: tuple[Any, ...] = ()
        self._verdict = False

    def check(self) -> bool:
        found = _functions()
        if found != self._seen:
            self._seen = found
            self._verdict = makes_plain_records(found[0]) and all(map(_is_plain, found[1:]))
        return self._verdict


_plain = _Plain()


class AccessLog:
    """Writes the access lines of one event loop. Not for other threads; the handlers it writes to may be shared."""

    def __init__(self, loop: asyncio.AbstractEventLoop, logger: logging.Logger) -> None:
        self._loop = loop
        self._logger = logger
        self._lines: list[str] = []
        self._handlers: list[logging.StreamHandler[TextIO]] = []
        self._formatter: AccessFormatter | None = None
        self._colours: object = None
        self._frames: dict[int, tuple[str, str, str]] = {}
        self._paths: dict[str, str] = {}

    def log(self, scope: Mapping[str, Any], status: int) -> None:
        """Log that the response to the request of `scope` begins with `status`."""
        lines = self._lines
        if not lines:
            if not self._is_default():
                self._log_record(scope, status)
                return
            self._loop.call_soon(self.flush)
        path = scope["path"]
        line = self._paths.get(path) or self._quote(path)
        if query := scope["query_string"]:
            line = f"{line}?{printable_query(query)}"
        start, middle, end = self._frames.get(status) or self._frame(status)
        client = scope["client"]
        address = f"{client[0]}:{client[1]}" if client else ""
        lines.append(f"{start}{address}{middle}{scope['method']} {line} HTTP/{scope['http_version']}{end}")

    def flush(self) -> None:
        """Write what waits. Called at the end of each turn of the loop that logged, and by whoever ends the loop."""
        lines = self._lines
        if not lines:
            return
        self._lines = []
        for handler in self._handlers:
            handler.acquire()
            try:
                stream = handler.stream
                for text in _portions(lines, stream):
                    stream.write(text)
                    stream.flush()
            except Exception:
                # As the handler itself would: logging.raiseExceptions decides whether anybody hears of it.
                handler.handleError(self._record("".join(lines).rstrip("\n")))
            finally:
                handler.release()

    # -- The ordinary way ----------------------------------------------------------------------------------------------

    def _log_record(self, scope: Mapping[str, Any], status: int) -> None:
        self._logger.info(
            MESSAGE,
            get_client_addr(scope),
            scope["method"],
            get_path_with_query_string(scope),
            scope["http_version"],
            status,
        )

    def _record(self, text: str) -> logging.LogRecord:
        return logging.LogRecord(self._logger.name, logging.INFO, __file__, 0, text, (), sys.exc_info())

    # -- Whether the short way prints the same -------------------------------------------------------------------------

    def _is_default(self) -> bool:
        """Say whether a record would only be formatted by the default formatter and written to plain streams."""
        logger = self._logger
        if (
            type(logger) is not logging.Logger
            or not logger.isEnabledFor(logging.INFO)
            or logger.filters
            or not _plain.check()
            or not _LOGGER_METHODS.isdisjoint(logger.__dict__)
            or (logger.propagate and _hears(logger.parent))
        ):
            return False
        self._handlers = []
        formatter = None
        for handler in logger.handlers:
            if handler.level > logging.INFO:
                continue
            if (
                not isinstance(handler, logging.StreamHandler)
                or type(handler) not in (logging.StreamHandler, logging.FileHandler)
                or handler.filters
                or not _HANDLER_METHODS.isdisjoint(handler.__dict__)
                or handler.stream is None  # a FileHandler opens its file at its first record
                or handler.terminator != "\n"
                or type(handler.formatter) is not AccessFormatter
            ):
                return False
            if formatter is None:
                formatter = handler.formatter
            elif handler.formatter.use_colors != formatter.use_colors:
                return False
            if not self._is_default_format(handler.formatter):
                return False
            self._handlers.append(handler)
        return formatter is not None

    def _is_default_format(self, formatter: AccessFormatter) -> bool:
        if formatter is self._formatter and formatter.use_colors is self._colours:
            return formatter._style._fmt == _DEFAULT_FORMAT
        if (
            type(formatter._style) is not logging.PercentStyle
            or formatter._style._fmt != _DEFAULT_FORMAT
            or not {"format", "formatMessage"}.isdisjoint(formatter.__dict__)
        ):
            return False
        self._formatter = formatter
        self._colours = formatter.use_colors
        self._frames = {}
        return True

    # -- Pieces that are remembered ------------------------------------------------------------------------------------

    def _quote(self, path: str) -> str:
        quoted = quote(path)
        if len(path) <= _PATH_LENGTH:
            if len(self._paths) >= _PATHS:
                self._paths.clear()
            self._paths[path] = quoted
        return quoted

    def _frame(self, status: int) -> tuple[str, str, str]:
        """Return what the formatter prints before the client, between client and request line, and after that."""
        assert self._formatter is not None
        record = logging.LogRecord(
            self._logger.name, logging.INFO, __file__, 0, MESSAGE, ("\0", "\1", "\2", "\3", status), None
        )
        start, _, rest = self._formatter.format(record).partition("\0")
        middle, _, end = rest.partition("\1 \2 HTTP/\3")
        if len(self._frames) >= _STATUSES:
            self._frames.clear()
        frame = self._frames[status] = (start, middle, end + "\n")
        return frame


def _hears(logger: logging.Logger | None) -> bool:
    """Say whether a record that is passed up to `logger` meets a handler."""
    while logger is not None:
        if logger.handlers:
            return True
        if not logger.propagate:
            return False
        logger = logger.parent
    return False


def _portions(lines: list[str], stream: TextIO) -> Iterator[str]:
    """Yield the lines in portions to be written at once.

    One, except to a pipe or a terminal: there only PIPE_BUF octets stay together when several workers write (pipe(7)).
    """
    text = "".join(lines)
    limit = 4096
    if len(text) <= limit or not _is_pipe(stream):
        yield text
        return
    portion: list[str] = []
    size = 0
    for line in lines:
        octets = len(line)  # as good as: all but the client's name is ASCII
        if portion and size + octets > limit:
            yield "".join(portion)
            portion, size = [], 0
        portion.append(line)
        size += octets
    yield "".join(portion)


def _is_pipe(stream: TextIO) -> bool:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    return False
