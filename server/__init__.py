"""The server of one process: what other packages import from `uvicorn.server`, loaded when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lifecycle import HANDLED_SIGNALS, Protocols, Server, logger
    from .state import ServerState

__all__ = ["HANDLED_SIGNALS", "Protocols", "Server", "ServerState", "logger"]


def __getattr__(name: str) -> Any:
    # Lazy, so that importing a light module of this package (`uvicorn.server.state`) does not load asyncio.
    if name == "ServerState":
        from .state import ServerState

        return ServerState
    if name in __all__:
        from . import lifecycle

        return getattr(lifecycle, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
