"""Upstream's import path; the code is in uvicorn.server.websocket_protocol."""

from uvicorn.server.websocket_protocol import WebSocketsSansIOProtocol

__all__ = ["WebSocketsSansIOProtocol"]
