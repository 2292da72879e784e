"""What the master leaves to the program that it becomes at an upgrade: a JSON document, and the descriptors it names.

Its core keeps names and meaning in every version: `argv`, `sys_path`, `settings`, `provenance`, `version`, `listeners`,
`pid_file`, `fds`, and of each of the `workers` its `pid` and `channel`. That is enough to go on serving: a program that
does not know the rest (`state` is the number of its layout) takes the sockets and starts workers of its own, and those
that it found leave when the new ones serve (`elders`).
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from uvicorn.listeners import Listener
from uvicorn.settings import SETTINGS, Settings

from .channel import Channel
from .handle import WorkerHandle
from .nursery import Nursery
from .pidfile import PidFile
from .plan import Phase, Wish
from .process import Process
from .recipe import CommandSource
from .totals import Totals

STATE = 1
"""The layout of the document; another one whenever something outside the core changes its meaning."""

logger = logging.getLogger("uvicorn.error")


class Counters:
    """What goes on counting."""

    __slots__ = ("ids", "newest", "totals")

    def __init__(self, totals: Totals, ids: int = 0, newest: int = 1) -> None:
        self.totals = totals
        self.ids = ids
        """The last worker's."""
        self.newest = newest
        """The generation of the last reading of the settings."""


def document(
    source: CommandSource,
    *,
    listeners: Iterable[Listener],
    pid_file: PidFile | None,
    workers: Iterable[WorkerHandle],
    nursery: Nursery,
    wish: Wish,
    counters: Counters,
) -> dict[str, Any]:
    """Return the document."""
    from uvicorn import __version__

    found = [worker.to_json() for worker in workers]
    sockets = [
        {
            "fd": one.sock.fileno(),
            "inherited": one.inherited,
            "uds": one.file or None,
            "host": one.host,
        }
        for one in listeners
    ]
    boards, templates = nursery.board_fds(), nursery.templates()
    fds = [*(one["fd"] for one in sockets), *boards.values(), *(template["channel"] for template in templates)]
    if pid_file is not None:
        fds.append(pid_file.fileno())
    for worker in found:
        fds += [fd for fd in (worker["channel"], worker["dump_fd"]) if fd is not None]
    return source.to_json() | {
        "state": STATE,
        "version": __version__,
        "listeners": sockets,
        "pid_file": None if pid_file is None else [pid_file.path, pid_file.fileno()],
        "boards": boards,
        "templates": templates,
        "workers": found,
        "fds": fds,
        "wanted": wish.wanted,
        "target": wish.target,
        "ids": counters.ids,
        "newest": counters.newest,
        "totals": counters.totals.to_json(),
    }


def is_known(state: Mapping[str, Any]) -> bool:
    """Say whether this program knows all of the document, not only its core."""
    return state.get("state") == STATE


def try_out(state: Mapping[str, Any]) -> None:
    """Read the document, and touch none of its descriptors. Raises what taking over from it would raise."""
    _settings(state)
    for one in state["listeners"]:
        one["fd"], one["inherited"], one["uds"], one["host"]
    if is_known(state):
        wish_of(state, Wish(wanted=1))
        counters_of(state, 0.0)
        for values in state["workers"]:
            WorkerHandle.from_json(values)
        for one in state.get("templates", ()):
            one["generation"], one["pid"], one["channel"], one["born"], one["preloaded"], one["protocol"]


def source_of(state: Mapping[str, Any]) -> CommandSource:
    settings, provenance, strange = _settings(state)
    if strange:
        logger.warning("This version has no settings %s: they are dropped", ", ".join(strange))
    return CommandSource(settings, provenance, state["sys_path"])


def _settings(state: Mapping[str, Any]) -> tuple[Settings, dict[str, str], list[str]]:
    """Return settings and provenance, and the names that this version does not know."""
    values = json.loads(state["settings"])
    known = {name: value for name, value in values.items() if name in SETTINGS}
    provenance = {name: origin for name, origin in state["provenance"].items() if name in SETTINGS}
    return Settings.from_json(json.dumps(known)), provenance, sorted(values.keys() - known.keys())


def listeners_of(state: Mapping[str, Any]) -> list[Listener]:
    """Take over the listening sockets."""
    found = []
    for one in state["listeners"]:
        sock = socket.socket(fileno=one["fd"])
        sock.setblocking(False)
        found.append(Listener(sock, inherited=one["inherited"], uds=one["uds"], host=one["host"]))
    return found


def wish_of(state: Mapping[str, Any], wish: Wish) -> Wish:
    """Return what is wanted when the new program begins, `wish` being what it would want by itself."""
    if not is_known(state):
        # As in the middle of a restart whose canary is ready: what is missing is started, then the old ones leave.
        return wish._replace(target=2, base=2, previous=2, phase=Phase.ROLLING)
    generation = state["target"]
    return wish._replace(wanted=state["wanted"], target=generation, base=generation, previous=generation)


def counters_of(state: Mapping[str, Any], now: float) -> Counters:
    if not is_known(state):
        return Counters(Totals(now), newest=2)
    return Counters(Totals.from_json(state["totals"]), ids=state["ids"], newest=state["newest"])


def workers_of(state: Mapping[str, Any], nursery: Nursery) -> list[WorkerHandle]:
    """Take over the workers of a known document, and those of its templates that are of use."""
    nursery.adopt_boards(state["boards"])
    nursery.adopt_templates(state.get("templates", ()))  # new in state 1: some were written without
    found = []
    for values in state["workers"]:
        worker = WorkerHandle.from_json(values)
        worker.channel = Channel.adopt(values["channel"])
        worker.channel.setblocking(False)
        worker.board = nursery.board(worker.generation)
        assert worker.pid is not None
        worker.process = Process(worker.pid)  # a zombie at worst: nobody else reaps it
        found.append(worker)
    return found


def close_the_rest(state: Mapping[str, Any]) -> None:
    """Close the descriptors of an unknown document but those of its core."""
    core = {one["fd"] for one in state["listeners"]} | {worker["channel"] for worker in state["workers"]}
    if state["pid_file"] is not None:
        core.add(state["pid_file"][1])
    for fd in set(state["fds"]) - core:
        os.close(fd)
