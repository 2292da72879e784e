"""Which modules a process may import before it is known that it will be needed.

Most of what an application costs at its start are the packages that it imports, and those do not change between two
saves. So while one child serves, the next one waits with all of them imported, and a reload costs the import of the
application's own modules alone. Only modules of the standard library and of site-packages are taken, and only if the
application did nothing while it was imported that they could have noticed.
"""

from __future__ import annotations

import builtins
import logging
import os
import site
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any


class Surroundings:
    """What libraries may look at while they are imported, as it was before the application's own code ran."""

    def __init__(self) -> None:
        self._paths = set(map(os.path.realpath, sys.path))
        self._state = self._now()

    def are_unchanged(self) -> bool:
        more = set(map(os.path.realpath, sys.path)) - self._paths
        return self._now() == self._state and not more and not _is_patched()

    @staticmethod
    def _now() -> list[Any]:
        """Return the environment, where modules are looked for, and what is most often replaced by another."""
        return [
            dict(os.environ),
            os.getcwd(),
            list(sys.meta_path),
            list(sys.path_hooks),
            set(dir(builtins)),
            logging.getLoggerClass(),
            socket.socket,
            threading.Thread,
            threading.Lock,
            time.sleep,
            subprocess.Popen,
        ]


def _is_patched() -> bool:
    """Whether gevent or eventlet have replaced parts of the standard library: then the order of imports matters."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return bool(getattr(gevent, "saved", None) or getattr(eventlet, "already_patched", None))


def installed_modules() -> list[tuple[str, str]]:
    """Return names and files of the imported modules that were installed rather than written here, in their order."""
    places = _places()
    found = []
    for name, module in list(sys.modules.items()):
        spec: Any = getattr(module, "__spec__", None)
        if getattr(spec, "name", None) == name and spec.has_location and str(spec.origin).startswith(places):
            found.append((name, str(spec.origin)))
    return found


def _places() -> tuple[str, ...]:
    directories = [*site.getsitepackages(), os.path.dirname(os.__file__)]
    if site.ENABLE_USER_SITE:
        directories.append(site.getusersitepackages())
    return tuple(directory.rstrip(os.sep) + os.sep for directory in directories)


def installation_stamp() -> list[tuple[str, int]]:
    """Return what changes when a package is installed, upgraded or removed."""
    found = []
    for place in _places():
        try:
            found.append((place, os.stat(place).st_mtime_ns))
        except OSError:
            continue
    return found


def stamps(files: Iterable[str]) -> list[tuple[int, int] | None]:
    """Return what changes when one of these files does: somebody may edit an installed package to look into it."""
    found: list[tuple[int, int] | None] = []
    for file in files:
        try:
            status = os.stat(file)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size))
    return found


def are_shadowed(names: Iterable[str], directories: Iterable[str]) -> bool:
    """Return whether one of these directories, which are searched first, has a module of such a name by now."""
    tops = {name.partition(".")[0] for name in names}
    for directory in directories:
        try:
            entries = os.listdir(directory or ".")
        except OSError:
            continue
        for entry in entries:
            name, suffix = os.path.splitext(entry)
            if name in tops and (suffix == ".py" or os.path.exists(os.path.join(directory, entry, "__init__.py"))):
                return True
    return False


def import_all(names: Iterable[str]) -> bool:
    """Import these modules; return whether the process is as it would be if the application had imported them.

    It is not, and must not be used, if one of them fails, for it may have done half of what it does; nor if one of them
    imports what was not installed, for that may be edited.
    """
    before = set(sys.modules)
    for name in names:
        if name not in sys.modules:
            try:
                __import__(name)
            except Exception:
                return False
    return not any(_is_foreign(sys.modules[name]) for name in sys.modules.keys() - before)


def _is_foreign(module: Any) -> bool:
    spec: Any = getattr(module, "__spec__", None)
    if spec is None or not spec.has_location or spec.name.partition(".")[0] == "uvicorn":
        return False
    return not str(spec.origin).startswith(_places())
