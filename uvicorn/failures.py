"""What to print when serving failed: one line for a user's mistake, the application's own traceback for its error."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from types import TracebackType
from typing import TYPE_CHECKING

from uvicorn.errors import UsersError
from uvicorn.importer import ImportFromStringError

if TYPE_CHECKING:
    from uvicorn.config import Config

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_CALLS_THE_APPLICATION = {"load_app", "_make_app"}  # methods of Config
_IMPORTLIB = os.path.dirname(os.path.abspath(importlib.__file__)) + os.sep


def report(error: UsersError | ImportFromStringError) -> None:
    """Log the one line of a user's mistake; print it where no log is set up, which may be what failed."""
    logger = logging.getLogger("uvicorn.error")
    if logger.hasHandlers():
        logger.error("%s", error)
    else:
        print(f"Error: {error}", file=sys.stderr)


def describe(config: Config | None, error: BaseException) -> str | None:
    """Return the text for `error` that came out of making or loading `config`; None if it is a bug of ours.

    The process that prints it exits with 3.
    """
    if config is not None and error is config.app_error:
        return f"Error loading ASGI app {_name(config.app)}\n{application_traceback(error)}"
    if isinstance(error, (UsersError, ImportFromStringError)):
        return str(error)
    return None


def _name(app: object) -> str:
    return repr(app) if isinstance(app, str) else f"of {type(app).__name__}"


def application_traceback(error: BaseException) -> str:
    """Return the traceback without the frames that led to the application: neither ours nor importlib's help there."""
    return "".join(traceback.format_exception(type(error), error, _after_us(error.__traceback__))).rstrip()


def _after_us(tb: TracebackType | None) -> TracebackType | None:
    while tb is not None and tb.tb_frame.f_code.co_name not in _CALLS_THE_APPLICATION:
        tb = tb.tb_next
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith((_OURS, _IMPORTLIB, "<frozen importlib")):
        tb = tb.tb_next
    return tb
