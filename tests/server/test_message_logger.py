from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from uvicorn.server.asgi2 import ASGI2Middleware
from uvicorn.server.message_logger import MessageLoggerMiddleware, message_with_placeholders


def test_bodies_are_shown_by_size() -> None:
    message = {"type": "x", "body": b"abc", "bytes": b"", "text": "äb", "headers": iter([(b"a", b"b")]), "n": 1}
    assert message_with_placeholders(message) == {
        "type": "x",
        "body": "<3 bytes>",
        "bytes": "<0 bytes>",
        "text": "<2 chars>",
        "headers": "<...>",
        "n": 1,
    }
    assert message["body"] == b"abc"
    assert message_with_placeholders({"text": None}) == {"text": None}


@pytest.mark.parametrize("fails", [False, True])
def test_messages_are_logged_both_ways(caplog: pytest.LogCaptureFixture, fails: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.body", "body": b"abc"})
        if fails:
            raise ValueError

    async def receive() -> Any:
        return {"type": "http.request", "body": b"1234"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        logged = MessageLoggerMiddleware(app)
        for client in (("1.2.3.4", 5), None):
            try:
                await logged({"type": "http", "client": client, "headers": []}, receive, send)
            except ValueError:
                assert fails

    logger = logging.getLogger("uvicorn.asgi")
    logger.addHandler(caplog.handler)
    caplog.set_level(5, logger="uvicorn.asgi")
    propagate, logger.propagate = logger.propagate, False
    try:
        asyncio.run(main())
    finally:
        logger.removeHandler(caplog.handler)
        logger.propagate = propagate
    end = "Raised exception" if fails else "Completed"
    assert caplog.messages[:4] == [
        "1.2.3.4:5 - ASGI [1] Started scope={'type': 'http', 'client': ('1.2.3.4', 5), 'headers': '<...>'}",
        "1.2.3.4:5 - ASGI [1] Receive {'type': 'http.request', 'body': '<4 bytes>'}",
        "1.2.3.4:5 - ASGI [1] Send {'type': 'http.response.body', 'body': '<3 bytes>'}",
        f"1.2.3.4:5 - ASGI [1] {end}",
    ]
    assert caplog.messages[7] == f"ASGI [2] {end}"
    assert sent == [{"type": "http.response.body", "body": b"abc"}] * 2


def test_asgi2_application_is_called_twice() -> None:
    calls: list[Any] = []

    class App:
        def __init__(self, scope: Any) -> None:
            calls.append(scope)

        async def __call__(self, receive: Any, send: Any) -> None:
            calls.append((receive, send))

    asyncio.run(ASGI2Middleware(App)("scope", "receive", "send"))
    assert calls == ["scope", ("receive", "send")]
