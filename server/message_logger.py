"""Every ASGI message in the log `uvicorn.asgi` at level TRACE, with the contents of bodies left out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from uvicorn.logging import TRACE_LOG_LEVEL

PLACEHOLDER_FORMAT = {
    "body": "<{length} bytes>",
    "bytes": "<{length} bytes>",
    "text": "<{length} chars>",
    "headers": "<...>",
}
"""What is printed for the values of these keys; others are printed as they are."""


def message_with_placeholders(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the message (or scope) in which long or private values are replaced by their sizes."""
    shown = dict(message)
    for key, placeholder in PLACEHOLDER_FORMAT.items():
        value = message.get(key)
        if value is not None:
            # Headers may be any iterable, also one that can be read only once; their number is not shown.
            shown[key] = placeholder.format(length=len(value)) if "{" in placeholder else placeholder
    return shown


class MessageLoggerMiddleware:
    """Logs what goes into the application and what comes out; each call of it has a number."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.task_counter = 0
        self.logger = logging.getLogger("uvicorn.asgi")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.task_counter += 1
        number = self.task_counter
        client = scope.get("client")
        prefix = f"{client[0]}:{client[1]} - ASGI" if client else "ASGI"

        def trace(what: str, *args: object) -> None:
            self.logger.log(TRACE_LOG_LEVEL, f"%s [%d] {what}", prefix, number, *args)

        async def traced_receive() -> Any:
            message = await receive()
            trace("Receive %s", message_with_placeholders(message))
            return message

        async def traced_send(message: Any) -> None:
            trace("Send %s", message_with_placeholders(message))
            await send(message)

        trace("Started scope=%s", message_with_placeholders(scope))
        try:
            await self.app(scope, traced_receive, traced_send)
        except BaseException:
            trace("Raised exception")
            raise
        trace("Completed")
