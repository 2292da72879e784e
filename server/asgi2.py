"""Applications of ASGI 2, which are called twice: `app(scope)` gives an instance, `instance(receive, send)` runs it."""

from __future__ import annotations

from typing import Any


class ASGI2Middleware:
    """Makes an ASGI 3 application of an ASGI 2 one."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        instance = self.app(scope)
        await instance(receive, send)
