"""What `--ws auto` means: websockets where it is installed, else wsproto, else no WebSockets."""

import asyncio

AutoWebSocketsProtocol: type[asyncio.Protocol] | None
try:
    import websockets  # noqa: F401
except ImportError:
    try:
        import wsproto  # noqa: F401
    except ImportError:
        AutoWebSocketsProtocol = None
    else:
        from uvicorn.server.websocket_protocol import WSProtocol

        AutoWebSocketsProtocol = WSProtocol
else:
    from uvicorn.server.websocket_protocol import WebSocketsSansIOProtocol

    AutoWebSocketsProtocol = WebSocketsSansIOProtocol

__all__ = ["AutoWebSocketsProtocol"]
