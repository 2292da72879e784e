"""Upstream's import path; the code is in uvicorn.server.message_logger."""

from uvicorn.server.message_logger import (
    PLACEHOLDER_FORMAT,
    MessageLoggerMiddleware,
    message_with_placeholders,
)

__all__ = ["PLACEHOLDER_FORMAT", "MessageLoggerMiddleware", "message_with_placeholders"]
