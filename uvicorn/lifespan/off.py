"""Upstream's import path; the code is in uvicorn.server.lifespan."""

from uvicorn.server.lifespan import LifespanOff

__all__ = ["LifespanOff"]
