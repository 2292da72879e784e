"""Upstream's import path; the code is in uvicorn.server.websocket_protocol."""

import wsproto  # noqa: F401  # if it is missing, that is told at the start and not by the first connection

from uvicorn.server.websocket_protocol import WSProtocol

__all__ = ["WSProtocol"]
