"""Upstream's import path; the code is in uvicorn.server.websocket_protocol."""

from uvicorn.server.websocket_protocol import WSProtocol

__all__ = ["WSProtocol"]
