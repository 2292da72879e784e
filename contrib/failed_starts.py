"""Hooks for circus, named in contrib/circus: a server that fails again and again is stopped, and its status says so.

circus itself starts what ended for ever, and its plugin `flapping` asks for a stop that circus refuses while it is
busy, which it is at that moment. These hooks run in circusd, where it counts the dead and starts the next.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from uvicorn.errors import USAGE

ATTEMPTS = 5  # for each of the watcher's processes
WINDOW = 60.0  # seconds
ASKED_FOR = (0, -15, None)  # exit codes of a stop; None: circus has not seen one

_failed: dict[str, deque[float]] = {}
_hopeless: set[str] = set()


def note_end(watcher: Any, time: float, exit_code: int | None = None, **_: Any) -> bool:
    """`after_reap`: `time` is seconds since the epoch, `exit_code` negative for a signal."""
    if exit_code not in ASKED_FOR:
        _failed.setdefault(watcher.name, deque()).append(time)
    if exit_code == USAGE:  # another try would say the same
        _hopeless.add(watcher.name)
    return True


def may_start(watcher: Any, **_: Any) -> bool:
    """`before_spawn`: False stops the watcher. Whoever starts it again starts the count again."""
    ends = _failed.setdefault(watcher.name, deque())
    while ends and ends[-1] - ends[0] > WINDOW:
        ends.popleft()
    if watcher.name in _hopeless:
        why = f"exit code {USAGE} says that a setting is wrong"
    elif len(ends) >= ATTEMPTS * watcher.numprocesses:
        why = f"it failed {len(ends)} times within {WINDOW:g} s"
    else:
        return True
    logging.getLogger("circus").error("%s is not started again: %s; `circusctl start` tries anew", watcher.name, why)
    ends.clear()
    _hopeless.discard(watcher.name)
    return False
