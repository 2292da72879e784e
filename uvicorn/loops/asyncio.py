"""Upstream's import path; the code is in uvicorn.server.loops."""

from uvicorn.server.loops import asyncio_loop_factory

__all__ = ["asyncio_loop_factory"]
