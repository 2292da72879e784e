"""The name of an implementation that is gone: there is one WebSocket protocol now."""

import warnings

from uvicorn.config import UvicornDeprecationWarning
from uvicorn.server.websocket_protocol import WebSocketsSansIOProtocol as WebSocketProtocol

warnings.warn(
    "uvicorn.protocols.websockets.websockets_impl is a name for websockets_sansio_impl now",
    UvicornDeprecationWarning,
    stacklevel=2,
)

__all__ = ["WebSocketProtocol"]
