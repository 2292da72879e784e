"""What `--ws auto` means: the frames of our own, which need no other package."""

from uvicorn.server.websocket_protocol import WebSocketsSansIOProtocol as AutoWebSocketsProtocol

__all__ = ["AutoWebSocketsProtocol"]
