"""Logging as `log_config` and `log_level` say; every process calls it for itself."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from uvicorn.errors import ConfigError
from uvicorn.settings import LOG_LEVELS

if TYPE_CHECKING:
    from configparser import RawConfigParser

    LogConfig: TypeAlias = dict[str, Any] | str | os.PathLike[str] | RawConfigParser | IO[Any]

worker = "-"
"""What log records say of the process that makes them: the number of a worker, "master", "template"; else "-"."""

_factories: dict[Any, Any] = {}
"""The record factories that were made here, each with the one that it asks."""


def with_colours(log_config: dict[str, Any], use_colors: bool) -> dict[str, Any]:
    """Return a copy whose default and access formatters have this `use_colors`; the original belongs to others."""
    formatters = dict(log_config.get("formatters", {}))
    for name in {"default", "access"} & formatters.keys():
        formatters[name] = {**formatters[name], "use_colors": use_colors}
    return {**log_config, "formatters": formatters}


def apply(log_config: LogConfig) -> None:
    """Configure logging from a dict, a file (by its suffix), a file object or a parser. Raises ConfigError."""
    if not isinstance(log_config, dict):
        _apply_file(log_config)
    elif "logging.config" in sys.modules or not _apply_plain(log_config):
        _from_dict(log_config)


def _from_dict(log_config: Any) -> None:
    from logging.config import dictConfig

    dictConfig(log_config)


_STREAMS = {"ext://sys.stdout": "stdout", "ext://sys.stderr": "stderr"}
_OURS = ("uvicorn.logging.DefaultFormatter", "uvicorn.logging.AccessFormatter")
_FORMATTER = {"()", "fmt", "datefmt", "style", "use_colors"}


def _apply_plain(log_config: dict[str, Any]) -> bool:
    """Do what dictConfig does with a configuration as plain as the default one; False, and nothing, for any other.

    Not for its own sake: `logging.config` imports queues, sockets, pickle and configparser, a megabyte in each of the
    processes that only write lines to their standard output.
    """
    try:
        if not _is_plain(log_config):
            return False
    except (AttributeError, TypeError):  # something in it is not what it should be: dictConfig says what
        return False
    formatters, handlers, loggers = (log_config.get(name, {}) for name in ("formatters", "handlers", "loggers"))
    logging.shutdown(logging._handlerList[:])  # type: ignore[attr-defined]
    logging._handlers.clear()  # type: ignore[attr-defined]
    logging._handlerList.clear()  # type: ignore[attr-defined]
    existing = {name for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)}
    made = {name: _handler(one, formatters) for name, one in sorted(handlers.items())}
    for name, one in loggers.items():
        logger = logging.getLogger(name)
        logger.disabled = False
        if "level" in one:
            logger.setLevel(one["level"])
        logger.handlers[:] = []
        for handler in one.get("handlers", ()):
            logger.addHandler(made[handler])
        logger.propagate = one.get("propagate", True)
    for name in existing - loggers.keys():
        logger = logging.getLogger(name)
        if any(name.startswith(f"{parent}.") for parent in loggers):
            logger.setLevel(logging.NOTSET)
            logger.handlers = []
            logger.propagate = True
        else:
            logger.disabled = False
    return True


def _is_plain(log_config: dict[str, Any]) -> bool:
    formatters, handlers, loggers = (log_config.get(name, {}) for name in ("formatters", "handlers", "loggers"))
    return (
        log_config.keys() <= {"version", "disable_existing_loggers", "formatters", "handlers", "loggers"}
        and log_config.get("version") == 1
        and log_config.get("disable_existing_loggers") is False
        and all(one.get("()") in _OURS and one.keys() <= _FORMATTER for one in formatters.values())
        and all(_is_plain_handler(one, formatters) for one in handlers.values())
        and all(_is_plain_logger(one, handlers) for one in loggers.values())
    )


def _is_plain_handler(one: dict[str, Any], formatters: dict[str, Any]) -> bool:
    return (
        one.keys() <= {"class", "formatter", "stream"}
        and one.get("class") == "logging.StreamHandler"
        and one.get("formatter") in formatters
        and one.get("stream", "ext://sys.stderr") in _STREAMS
    )


def _is_plain_logger(one: dict[str, Any], handlers: dict[str, Any]) -> bool:
    return (
        one.keys() <= {"handlers", "level", "propagate"}
        and one.get("level", "INFO") in logging._nameToLevel
        and isinstance(one.get("propagate", True), bool)
        and all(name in handlers for name in one.get("handlers", ()))
    )


def _handler(one: dict[str, Any], formatters: dict[str, Any]) -> logging.Handler:
    handler = logging.StreamHandler(getattr(sys, _STREAMS[one.get("stream", "ext://sys.stderr")]))
    arguments = dict(formatters[one["formatter"]])
    module, _, factory = arguments.pop("()").rpartition(".")
    handler.setFormatter(getattr(import_module(module), factory)(**arguments))
    return handler


def number_records() -> None:
    """Give every log record of this process an attribute `worker`, so that any format may have %(worker)s."""
    before = logging.getLogRecordFactory()
    if before in _factories:
        return

    def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        record.worker = worker
        return record

    _factories[make_record] = before
    logging.setLogRecordFactory(make_record)


def makes_plain_records(factory: Any) -> bool:
    """Say whether records of this factory are those of the standard library, but for our attribute."""
    return _factories.get(factory, factory) is logging.LogRecord


def level_number(level: str | int) -> int:
    if isinstance(level, int):
        return level
    try:
        return LOG_LEVELS[level.lower()]
    except (KeyError, AttributeError):
        raise ConfigError(f"log_level: expected one of {', '.join(LOG_LEVELS)}, got {level!r}") from None


def _apply_file(log_config: str | os.PathLike[str] | RawConfigParser | IO[Any]) -> None:
    name = os.fspath(log_config) if isinstance(log_config, (str, os.PathLike)) else ""
    try:
        if name.endswith(".json"):
            import json

            with open(name) as file:
                _from_dict(json.load(file))
        elif name.endswith((".yaml", ".yml")):
            try:
                import yaml
            except ImportError:
                raise ConfigError(
                    f"log_config {name!r} needs the package PyYAML: pip install PyYAML (or uvicorn[standard])"
                ) from None
            with open(name) as file:
                _from_dict(yaml.safe_load(file))
        else:
            from logging.config import fileConfig

            fileConfig(log_config, disable_existing_loggers=False)
    except OSError as error:
        raise ConfigError(f"log_config {name!r}: {error.strerror or error}") from error
    except ConfigError:
        raise
    except Exception as error:  # each format has errors of its own, and dictConfig hides the cause in a ValueError
        cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
        raise ConfigError(f"log_config {name!r} cannot be used: {error}{cause}".replace("\n", " ")) from error
