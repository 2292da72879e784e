"""Which event loop a process runs on: each function returns the factory that makes one.

`use_subprocess` says that the process is a child of a reloader or a master. Where it matters (Windows), a loop that
can start subprocesses is not available there.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def auto_loop_factory(use_subprocess: bool = False) -> LoopFactory:
    """Return uvloop's factory where uvloop is installed, else asyncio's."""
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return asyncio_loop_factory(use_subprocess=use_subprocess)
    return uvloop_loop_factory(use_subprocess=use_subprocess)


def asyncio_loop_factory(use_subprocess: bool = False) -> LoopFactory:
    """Return the factory of the standard library's loop."""
    if sys.platform == "win32" and not use_subprocess:
        return asyncio.ProactorEventLoop
    return asyncio.SelectorEventLoop


def uvloop_loop_factory(use_subprocess: bool = False) -> LoopFactory:
    """Return uvloop's factory. ImportError where it is not installed."""
    import uvloop

    factory: LoopFactory = uvloop.new_event_loop
    return factory
