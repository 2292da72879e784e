"""What `--http auto` means: httptools where it is installed, else h11."""

import asyncio

AutoHTTPProtocol: type[asyncio.Protocol]
try:
    import httptools  # noqa: F401
except ImportError:
    from uvicorn.server.h11_protocol import H11Protocol

    AutoHTTPProtocol = H11Protocol
else:
    from uvicorn.server.httptools_protocol import HttpToolsProtocol

    AutoHTTPProtocol = HttpToolsProtocol

__all__ = ["AutoHTTPProtocol"]
