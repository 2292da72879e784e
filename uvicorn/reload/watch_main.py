"""The process that watches: it tells the reloader which files changed, and ends with it.

A process of its own, so that the reloader stays single-threaded and an import hook or a slow disk never keeps it from
answering a signal. On Linux each directory is watched by itself rather than the whole tree from its top: the system
then never hears of what happens in `.venv` or `node_modules`, where most files are.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn, Protocol

from .filters import Filter, shown
from .link import HELD_BACK, Link
from .survey import Survey, remove_bytecode, survey

_SETTLED = 20
"""Milliseconds of quiet after which a burst of changes is reported."""
_PATIENCE = 1600
"""Milliseconds after which it is reported although it goes on."""
_BEGUN = 1000
"""Milliseconds after which a watch has surely begun, and without a change is asked about again."""
_ONE_BY_ONE = sys.platform == "linux"


def main(fd: int) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # they are meant for the reloader; its end is ours
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
    link = Link.adopt(fd)
    order = link.wait()
    if order is None:
        os._exit(0)
    end_with_parent(order["parent"], link)
    receiver: Receiver = link if order["settings"] is None else Master(order)
    watch(receiver, Filter.from_json(order["filter"]), order)
    os._exit(0)


class Receiver(Protocol):
    """Whoever is told what happens to the files."""

    def send(self, document: Any) -> None: ...


class Master:
    """A master of workers, which knows nothing of files: the change is logged here, and it is sent SIGHUP."""

    def __init__(self, order: dict[str, Any]) -> None:
        from uvicorn.config import Config
        from uvicorn.settings import Settings

        Config(**{**Settings.from_json(order["settings"]).arguments(), "env_file": None})  # configures logging
        self._logger = logging.getLogger("uvicorn.error")
        self._parent = order["parent"]
        self._name = "StatReload" if order["poll"] else "WatchFiles"

    def send(self, document: Any) -> None:
        if changes := document.get("changes"):
            self._logger.warning("%s detected changes in %s. Reloading...", self._name, shown(changes, os.getcwd()))
            remove_bytecode(changes)
            os.kill(self._parent, signal.SIGHUP)
        if problem := document.get("problem"):
            self._logger.warning("%s cannot watch: %s. Looking at the times of the files.", self._name, problem)
            self._name = "StatReload"


def end_with_parent(parent: int, link: Link) -> None:
    """End this process with its parent: at once by the kernel, where it can; else by the end of the link."""
    if sys.platform == "linux":
        from uvicorn.manager.process import die_with_parent

        die_with_parent(parent)

    def wait_for_end() -> None:
        link.wait()
        os._exit(0)

    threading.Thread(target=wait_for_end, daemon=True, name="end with the reloader").start()


def watch(receiver: Receiver, filter: Filter, order: dict[str, Any]) -> None:
    """Report changes for ever."""
    if not order["poll"]:
        import watchfiles  # noqa: F401  # before the survey: what changes between that and the watch is seen late
    known = survey(filter)
    # What changed between the start of the reloader, which the code that runs is at least as new as, and now.
    if early := known.changed_since(order["since"]):
        receiver.send({"changes": early})
    receiver.send({"watching": True})
    if not order["poll"]:
        known = _by_notification(receiver, filter, known, order["delay"])
    while True:
        time.sleep(max(order["delay"], 0.01))
        known = _look_again(receiver, filter, known)


def _look_again(receiver: Receiver, filter: Filter, known: Survey) -> Survey:
    now = survey(filter)
    if changes := known.changes_to(now):
        receiver.send({"changes": changes})
    return now


def _by_notification(receiver: Receiver, filter: Filter, known: Survey, delay: float) -> Survey:
    """Report what watchfiles sees; return when it cannot go on."""
    while True:
        if not known.directories:  # all are gone; perhaps they come back
            time.sleep(max(delay, 0.01))
            known = _look_again(receiver, filter, known)
            continue
        try:
            looked = False
            for events in _events(filter, known, delay):
                if not events:  # for so long that the watch has begun: was there a change before it?
                    if not looked:
                        looked = True
                        watched, known = known.directories, _look_again(receiver, filter, known)
                        if known.directories != watched:
                            break
                    continue
                paths = sorted({path for _, path in events})
                if any(_is_directory(path, filter, known) for path in paths):
                    break
                if changes := [path for path in paths if filter.takes(path) and known.update(path)]:
                    receiver.send({"changes": changes})
        except FileNotFoundError:
            pass  # a directory went between the survey and the watch
        except Exception as error:  # its own errors have no common class; the system's limits are the usual cause
            receiver.send({"problem": f"{error or type(error).__name__}"})
            return known
        known = _look_again(receiver, filter, known)


def _events(filter: Filter, known: Survey, delay: float) -> Iterator[set[tuple[Any, str]]]:
    from watchfiles import watch as events

    # A longer delay than usual gathers what changes within it.
    settled = _SETTLED if delay <= 0.25 else int(delay * 1000)
    return events(
        *(sorted(known.directories) if _ONE_BY_ONE else filter.roots),
        watch_filter=None,
        recursive=not _ONE_BY_ONE,
        step=settled,
        debounce=max(_PATIENCE, settled),
        rust_timeout=_BEGUN,
        yield_on_timeout=True,
        raise_interrupt=False,
        ignore_permission_denied=True,
    )


def _is_directory(path: str, filter: Filter, known: Survey) -> bool:
    """Return whether a directory that we look into came, or went."""
    if path in known.directories:
        return not os.path.isdir(path)
    return os.path.isdir(path) and filter.takes_directory(path)
