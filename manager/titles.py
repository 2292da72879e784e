"""Names of processes in ps and top, where the package setproctitle is there."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def set_title(role: str, name: str) -> None:
    """Call this process "uvicorn: ROLE [NAME]"."""
    if (set_it := _setproctitle()) is not None:
        set_it(f"uvicorn: {role} [{name}]")


@functools.cache
def _setproctitle() -> Callable[[str], object] | None:
    try:
        from setproctitle import setproctitle
    except ImportError:  # a search through all of sys.path, whose result the forked processes inherit
        return None
    return setproctitle
