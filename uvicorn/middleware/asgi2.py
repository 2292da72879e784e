"""Upstream's import path; the code is in uvicorn.server.asgi2."""

from uvicorn.server.asgi2 import ASGI2Middleware

__all__ = ["ASGI2Middleware"]
