"""What the programs share that look at the Python API from inside, by the uvicorn of the interpreter that runs them.

Each prints one JSON document. They import nothing but uvicorn and the standard library, so that they run wherever a
uvicorn is installed.
"""

import asyncio
import contextlib
import importlib
import inspect
import json
import logging
import os
import sys
import time

import uvicorn

found = {}


def observe(name):
    """Note what a function returns, or what it raises, under a name."""

    def decorate(function):
        try:
            result = function()
            found[name] = asyncio.run(result) if inspect.iscoroutine(result) else result
        except (Exception, SystemExit) as error:
            found[name] = raised(error)
        return function

    return decorate


def raised(error):
    return f"{type(error).__name__}: {error}"


def attempt(function, *arguments, **named):
    try:
        return plain(function(*arguments, **named))
    except (Exception, SystemExit) as error:
        return raised(error)


def plain(value):
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)  # not as a member of an enumeration
    if isinstance(value, (str, float, bool)) or value is None:
        return value
    if isinstance(value, os.PathLike):
        return os.path.basename(os.fspath(value))
    return value.__qualname__ if hasattr(value, "__qualname__") else type(value).__qualname__


def module(path):
    importlib.import_module(path)
    return sys.modules[path]


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__(0)
        self.lines = []

    def emit(self, record):
        text = record.getMessage().strip().replace(str(os.getpid()), "<pid>")
        raised_here = f" raised {type(record.exc_info[1]).__name__}" if record.exc_info else ""
        self.lines.append(f"{record.levelname} {text}{raised_here}")


def wait_for(server):
    while not server.started:
        time.sleep(0.01)


@contextlib.contextmanager
def logged():
    """What is logged inside, as lines."""
    handler, logger = Lines(), logging.getLogger("uvicorn.error")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


async def asgi3(scope, receive, send):
    pass


def config(app=asgi3, **named):
    return uvicorn.Config(app, log_config=None, **named)


def finish():
    """Print what was found."""
    json.dump(found, sys.stdout, indent=1, sort_keys=True, default=plain)
