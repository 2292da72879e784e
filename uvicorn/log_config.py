"""Logging as `log_config` and `log_level` say; every process calls it for itself."""

from __future__ import annotations

import logging
import logging.config
import os
from configparser import RawConfigParser
from typing import IO, Any

from uvicorn.errors import ConfigError
from uvicorn.settings import LOG_LEVELS

worker = "-"
"""What log records say of the process that makes them: the number of a worker, "master", "template"; else "-"."""

_factories: dict[Any, Any] = {}
"""The record factories that were made here, each with the one that it asks."""

LogConfig = dict[str, Any] | str | os.PathLike[str] | RawConfigParser | IO[Any]


def with_colours(log_config: dict[str, Any], use_colors: bool) -> dict[str, Any]:
    """Return a copy whose default and access formatters have this `use_colors`; the original belongs to others."""
    formatters = dict(log_config.get("formatters", {}))
    for name in {"default", "access"} & formatters.keys():
        formatters[name] = {**formatters[name], "use_colors": use_colors}
    return {**log_config, "formatters": formatters}


def apply(log_config: LogConfig) -> None:
    """Configure logging from a dict, a file (by its suffix), a file object or a parser. Raises ConfigError."""
    if isinstance(log_config, dict):
        logging.config.dictConfig(log_config)
    else:
        _apply_file(log_config)


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
    except KeyError:
        raise ConfigError(f"log_level: expected one of {', '.join(LOG_LEVELS)}, got {level!r}") from None


def _apply_file(log_config: str | os.PathLike[str] | RawConfigParser | IO[Any]) -> None:
    name = os.fspath(log_config) if isinstance(log_config, (str, os.PathLike)) else ""
    try:
        if name.endswith(".json"):
            import json

            with open(name) as file:
                logging.config.dictConfig(json.load(file))
        elif name.endswith((".yaml", ".yml")):
            try:
                import yaml
            except ImportError:
                raise ConfigError(
                    f"log_config {name!r} needs the package PyYAML: pip install PyYAML (or uvicorn[standard])"
                ) from None
            with open(name) as file:
                logging.config.dictConfig(yaml.safe_load(file))
        else:
            logging.config.fileConfig(log_config, disable_existing_loggers=False)
    except OSError as error:
        raise ConfigError(f"log_config {name!r}: {error.strerror or error}") from error
    except ConfigError:
        raise
    except Exception as error:  # each format has errors of its own, and dictConfig hides the cause in a ValueError
        cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
        raise ConfigError(f"log_config {name!r} cannot be used: {error}{cause}".replace("\n", " ")) from error
