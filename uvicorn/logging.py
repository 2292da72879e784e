"""Formatters of the default log configuration. Their output is read by people's parsers: byte for byte as ever."""

from __future__ import annotations

import http
import logging
import sys
from copy import copy
from functools import partial
from typing import Any, ClassVar, Literal, TextIO

from uvicorn._ansi import style
from uvicorn.settings import LOGGING_CONFIG as LOGGING_CONFIG

TRACE_LOG_LEVEL = 5

_LEVEL_COLOURS = {
    TRACE_LOG_LEVEL: "blue",
    logging.DEBUG: "cyan",
    logging.INFO: "green",
    logging.WARNING: "yellow",
    logging.ERROR: "red",
    logging.CRITICAL: "bright_red",
}
_STATUS_COLOURS = {1: "bright_white", 2: "green", 3: "yellow", 4: "red", 5: "bright_red"}


class ColourizedFormatter(logging.Formatter):
    """Adds %(levelprefix)s: the level's name, a colon, and blanks so that messages begin in one column.

    With colours, a record's `color_message` (same arguments) takes the place of its message.
    """

    level_name_colors: ClassVar = {level: partial(style, fg=colour) for level, colour in _LEVEL_COLOURS.items()}

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        use_colors: bool | None = None,
    ) -> None:
        # stdout also for what goes to stderr: so it has always been
        self.use_colors = use_colors if use_colors in (True, False) else _is_terminal(sys.stdout)
        super().__init__(fmt=fmt, datefmt=datefmt, style=style)

    def color_level_name(self, level_name: str, level_no: int) -> str:
        colour = self.level_name_colors.get(level_no, str)
        return colour(level_name)

    def should_use_colors(self) -> bool:
        return True

    def formatMessage(self, record: logging.LogRecord) -> str:
        record = _twin(record)  # other handlers must not see our additions
        name = record.levelname
        blanks = " " * (8 - len(name))
        if self.use_colors:
            name = self.color_level_name(name, record.levelno)
            if "color_message" in record.__dict__:
                record.msg = record.__dict__["color_message"]
                record.message = record.getMessage()
        record.__dict__["levelprefix"] = f"{name}:{blanks}"
        return super().formatMessage(record)


def _twin(record: logging.LogRecord) -> logging.LogRecord:
    if type(record) is not logging.LogRecord:
        return copy(record)
    twin = logging.LogRecord.__new__(logging.LogRecord)  # as copy does, in a quarter of the time
    twin.__dict__.update(record.__dict__)
    return twin


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()  # None: the descriptor was closed when we were started


class DefaultFormatter(ColourizedFormatter):
    def should_use_colors(self) -> bool:
        return _is_terminal(sys.stderr)


class AccessFormatter(ColourizedFormatter):
    """Adds client_addr, request_line and status_code.

    They are taken from record.args == (client address, method, path with query, HTTP version, status): filters of
    many applications read them there, so nothing is ever added to them.
    """

    status_code_colours: ClassVar = {hundred: partial(style, fg=colour) for hundred, colour in _STATUS_COLOURS.items()}

    def get_status_code(self, status_code: int) -> str:
        try:
            phrase = http.HTTPStatus(status_code).phrase
        except ValueError:
            phrase = ""
        text = f"{status_code} {phrase}"
        if self.use_colors:
            return self.status_code_colours.get(status_code // 100, str)(text)
        return text

    def formatMessage(self, record: logging.LogRecord) -> str:
        record = _twin(record)
        arguments: Any = record.args
        client_addr, method, full_path, http_version, status_code = arguments
        request_line = f"{method} {full_path} HTTP/{http_version}"
        if self.use_colors:
            request_line = style(request_line, bold=True)
        record.__dict__.update(
            client_addr=client_addr, request_line=request_line, status_code=self.get_status_code(int(status_code))
        )
        return super().formatMessage(record)
