"""The output of the formatters, byte for byte: people's parsers read it."""

from __future__ import annotations

import logging
import logging.config
from typing import Any

import pytest

from uvicorn.logging import TRACE_LOG_LEVEL, AccessFormatter, ColourizedFormatter, DefaultFormatter

FMT = "%(levelprefix)s %(message)s"
ACCESS_FMT = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'


def record(level: int, message: str = "hello %s", args: Any = ("w",), **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("uvicorn.error", level, "file.py", 1, message, args, None)
    made.__dict__.update(extra)
    return made


def access(status: int) -> logging.LogRecord:
    return record(logging.INFO, '%s - "%s %s HTTP/%s" %d', ("1.2.3.4:5", "GET", "/a?b=c", "1.1", status))


@pytest.fixture(autouse=True)
def trace_has_a_name():
    logging.addLevelName(TRACE_LOG_LEVEL, "TRACE")


@pytest.mark.parametrize(
    ("level", "line"),
    [
        (5, "TRACE:    hello w"),
        (10, "DEBUG:    hello w"),
        (20, "INFO:     hello w"),
        (30, "WARNING:  hello w"),
        (40, "ERROR:    hello w"),
        (50, "CRITICAL: hello w"),
        (25, "Level 25: hello w"),
    ],
)
def test_messages_begin_in_one_column(level: int, line: str):
    assert DefaultFormatter(FMT, use_colors=False).format(record(level)) == line


@pytest.mark.parametrize(
    ("level", "line"),
    [
        (5, "\x1b[34mTRACE\x1b[0m:    hello w"),
        (10, "\x1b[36mDEBUG\x1b[0m:    hello w"),
        (20, "\x1b[32mINFO\x1b[0m:     hello w"),
        (30, "\x1b[33mWARNING\x1b[0m:  hello w"),
        (40, "\x1b[31mERROR\x1b[0m:    hello w"),
        (50, "\x1b[91mCRITICAL\x1b[0m: hello w"),
        (25, "Level 25: hello w"),
    ],
)
def test_only_the_name_of_the_level_is_coloured(level: int, line: str):
    assert DefaultFormatter(FMT, use_colors=True).format(record(level)) == line


def test_with_colours_the_coloured_message_is_shown():
    made = record(20, color_message="HELLO \x1b[1m%s\x1b[0m")
    assert DefaultFormatter(FMT, use_colors=True).format(made) == "\x1b[32mINFO\x1b[0m:     HELLO \x1b[1mw\x1b[0m"
    assert DefaultFormatter(FMT, use_colors=False).format(made) == "INFO:     hello w"
    assert made.msg == "hello %s"
    assert "levelprefix" not in made.__dict__


@pytest.mark.parametrize(
    ("status", "text", "coloured"),
    [
        (101, "101 Switching Protocols", "\x1b[97m101 Switching Protocols\x1b[0m"),
        (200, "200 OK", "\x1b[32m200 OK\x1b[0m"),
        (304, "304 Not Modified", "\x1b[33m304 Not Modified\x1b[0m"),
        (404, "404 Not Found", "\x1b[31m404 Not Found\x1b[0m"),
        (503, "503 Service Unavailable", "\x1b[91m503 Service Unavailable\x1b[0m"),
        (199, "199 ", "\x1b[97m199 \x1b[0m"),
        (799, "799 ", "799 "),
    ],
)
def test_an_access_line_has_client_request_and_status(status: int, text: str, coloured: str):
    plain, colours = (AccessFormatter(ACCESS_FMT, use_colors=use) for use in (False, True))
    assert plain.format(access(status)) == f'INFO:     1.2.3.4:5 - "GET /a?b=c HTTP/1.1" {text}'
    assert (
        colours.format(access(status))
        == f'\x1b[32mINFO\x1b[0m:     1.2.3.4:5 - "\x1b[1mGET /a?b=c HTTP/1.1\x1b[0m" {coloured}'
    )


def test_an_access_line_leaves_the_record_as_it_was():
    made = access(200)
    AccessFormatter(ACCESS_FMT, use_colors=True).format(made)
    assert made.args == ("1.2.3.4:5", "GET", "/a?b=c", "1.1", 200)
    assert not {"levelprefix", "client_addr", "request_line", "status_code"} & made.__dict__.keys()


@pytest.mark.parametrize("args", [None, (), ("a", "b"), (1, 2, 3, 4, 5, 6)])
def test_an_access_line_needs_five_arguments(args: Any):
    with pytest.raises((TypeError, ValueError)):
        AccessFormatter(ACCESS_FMT).formatMessage(record(20, "x", args))


def test_formatters_take_what_every_formatter_takes():
    made = ColourizedFormatter("{levelprefix} {message}", style="{", use_colors=False)
    assert made.format(record(20)) == "INFO:     hello w"
    made = DefaultFormatter(fmt="%(asctime)s %(message)s", datefmt="day")
    assert made.format(record(20)) == "day hello w"
    assert DefaultFormatter().format(record(20)) == "hello w"
    assert ColourizedFormatter().should_use_colors() is True


def test_colours_follow_stdout_when_nobody_said(monkeypatch: pytest.MonkeyPatch):
    for answer in (True, False):
        monkeypatch.setattr("sys.stdout.isatty", lambda answer=answer: answer, raising=False)
        assert DefaultFormatter().use_colors is answer
        assert AccessFormatter().use_colors is answer
