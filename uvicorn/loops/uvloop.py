"""Upstream's import path; the code is in uvicorn.server.loops."""

from uvicorn.server.loops import uvloop_loop_factory

__all__ = ["uvloop_loop_factory"]
