"""Which modules a process may import before it is known that it will be needed.

Most of what an application costs at its start are the packages that it imports, and those do not change between two
saves. So while one child serves, the next one waits with all of them imported, and a reload costs the import of the
application's own modules alone. Only modules of the standard library and of site-packages are taken, and only if the
application did nothing while it was imported that they could have noticed.
"""

from __future__ import annotations

import os
import site
import sys
from typing import Any

THE_SERVERS = (
    "asyncio",
    "uvicorn.logging",
    "uvicorn.config",
    "uvicorn.server.lifecycle",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.middleware.proxy_headers",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
)
"""Imported in any case, whatever the application does."""


class Surroundings:
    """What libraries may look at while they are imported, as it was before the application's own code ran."""

    def __init__(self) -> None:
        self._environ = dict(os.environ)
        self._finders = list(sys.meta_path)

    def are_unchanged(self) -> bool:
        return dict(os.environ) == self._environ and sys.meta_path == self._finders and not _is_patched()


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


def import_all(names: list[str]) -> None:
    """Import what can be imported; what cannot will be told when the application needs it."""
    for name in names:
        if name not in sys.modules:
            try:
                __import__(name)
            except Exception:
                continue
