"""Upstream's import path; the code is in uvicorn.server.lifespan."""

from uvicorn.server.lifespan import STATE_TRANSITION_ERROR, LifespanOn

__all__ = ["STATE_TRANSITION_ERROR", "LifespanOn"]
