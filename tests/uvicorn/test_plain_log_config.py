"""A configuration as plain as the default one is applied without `logging.config`, and to the same effect."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

import pytest

from uvicorn.settings import LOGGING_CONFIG

PROGRAM = """\
import json, logging, sys
logging.getLogger("uvicorn.error.child").setLevel("DEBUG")
logging.getLogger("uvicorn.access").addHandler(logging.NullHandler())
logging.getLogger("other").disabled = True
logging.getLogger("uvicorn").disabled = True
logging.getLogger("some.where.deep")
if sys.argv[2] == "library":
    import logging.config
from uvicorn import log_config
try:
    log_config.apply(json.loads(sys.argv[1]))
    failure = None
except Exception as error:
    failure = f"{type(error).__name__}: {error}"
used = "logging.config" in sys.modules
state = {}
for name, one in sorted(logging.root.manager.loggerDict.items()):
    if isinstance(one, logging.Logger) and not name.startswith("concurrent"):
        handlers = [
            [type(h).__name__, h.level, h.stream.name, type(h.formatter).__name__, vars(h.formatter)["_fmt"],
             h.formatter.datefmt, getattr(h.formatter, "use_colors", None)] if h.formatter else type(h).__name__
            for h in one.handlers
        ]
        state[name] = [one.level, one.propagate, one.disabled, handlers]
print(json.dumps([used, failure, state]))
"""


def apply(log_config: dict[str, Any], how: str) -> tuple[bool, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(log_config), how], capture_output=True, text=True, check=True
    )
    used, *state = json.loads(done.stdout)
    return used, state


def changed(*path: str, to: Any) -> dict[str, Any]:
    config = copy.deepcopy(LOGGING_CONFIG)
    where = config
    for name in path[:-1]:
        where = where.setdefault(name, {})
    where[path[-1]] = to
    return config


PLAIN = {
    "the default": LOGGING_CONFIG,
    "colours": changed("formatters", "default", "use_colors", to=True),
    "a format": changed("formatters", "access", "fmt", to="%(asctime)s %(message)s"),
    "a date": changed("formatters", "default", "datefmt", to="%H:%M"),
    "a level": changed("loggers", "uvicorn.error", to={"level": "DEBUG", "handlers": ["default"]}),
    "no loggers": changed("loggers", to={}),
}
NOT_PLAIN = {
    "a file": changed("handlers", "file", to={"class": "logging.FileHandler", "filename": "/dev/null"}),
    "a formatter of the user's": changed("formatters", "default", to={"format": "%(message)s"}),
    "others disabled": changed("disable_existing_loggers", to=True),
    "a root": changed("root", to={"level": "DEBUG"}),
    "a number as level": changed("loggers", "uvicorn", "level", to=15),
    "another stream": changed("handlers", "default", "stream", to="ext://sys.__stderr__"),
}
WRONG = {
    "no such level": changed("loggers", "uvicorn", "level", to="LOUD"),
    "no such handler": changed("loggers", "uvicorn", "handlers", to=["none"]),
    "no such formatter": changed("handlers", "default", "formatter", to="none"),
    "another version": changed("version", to=2),
    "no dictionary": changed("handlers", "default", to=[]),
}


@pytest.mark.parametrize("name", PLAIN)
def test_the_effect_is_that_of_the_library(name: str) -> None:
    used, state = apply(PLAIN[name], "ours")
    assert not used
    assert state == apply(PLAIN[name], "library")[1]


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_whatever_is_more_is_left_to_the_library(name: str) -> None:
    used, state = apply(NOT_PLAIN[name], "ours")
    assert used
    assert state == apply(NOT_PLAIN[name], "library")[1]


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_by_the_library(name: str) -> None:
    used, (failure, *_) = apply(WRONG[name], "ours")
    assert used
    assert failure is not None
    assert failure == apply(WRONG[name], "library")[1][0]
