"""Upstream's import path; the code is in uvicorn.server.loops."""

from uvicorn.server.loops import auto_loop_factory

__all__ = ["auto_loop_factory"]
