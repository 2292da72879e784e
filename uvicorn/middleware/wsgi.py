"""Upstream's import path; the code is in uvicorn.server.wsgi."""

from uvicorn.server.wsgi import WSGIMiddleware, WSGIResponder, _WSGIMiddleware, build_environ

__all__ = ["WSGIMiddleware", "WSGIResponder", "_WSGIMiddleware", "build_environ"]
