"""Every answer that an application may give at the lifespan scope, with the lines it leads to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from uvicorn.server.lifespan import STATE_TRANSITION_ERROR, LifespanOff, LifespanOn

COMPLETE = "Application startup complete."
FAILED = "Application startup failed. Exiting."
UNSUPPORTED = "ASGI 'lifespan' protocol appears unsupported."
BROKEN = "Exception in 'lifespan' protocol\n"
STOPPED = "Application shutdown complete."
STOP_FAILED = "Application shutdown failed. Exiting."


class Boom(Exception):
    pass


async def raises_first(scope: Any, receive: Any, send: Any) -> None:
    raise Boom


async def returns(scope: Any, receive: Any, send: Any) -> None:
    pass


async def fails(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def fails_silently(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed"})


async def fails_and_raises(scope: Any, receive: Any, send: Any) -> None:
    await fails(scope, receive, send)
    raise Boom


async def works(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["db"] = "open"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await send({"type": "lifespan.shutdown.complete"})


async def fails_at_stop(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "not saved"})


async def raises_at_stop(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    raise Boom


def live(app: Any, mode: str) -> LifespanOn:
    async def main() -> LifespanOn:
        lifespan = LifespanOn(SimpleNamespace(loaded=True, lifespan=mode, asgi_version="3.0", loaded_app=app))  # type: ignore[arg-type]
        await lifespan.startup()
        if not lifespan.should_exit:
            await lifespan.shutdown()
        return lifespan

    return asyncio.run(asyncio.wait_for(main(), 60))


START, STOP = "Waiting for application startup.", "Waiting for application shutdown."


@pytest.mark.parametrize(
    ("app", "mode", "lines", "should_exit"),
    [
        (works, "auto", [START, COMPLETE, STOP, STOPPED], False),
        (works, "on", [START, COMPLETE, STOP, STOPPED], False),
        (raises_first, "auto", [START, UNSUPPORTED, COMPLETE], False),
        (raises_first, "on", [START, BROKEN, FAILED], True),
        (returns, "auto", [START, COMPLETE, STOP, STOPPED], False),
        (returns, "on", [START, COMPLETE, STOP, STOPPED], False),
        (fails, "auto", [START, "no database", FAILED], True),
        (fails, "on", [START, "no database", FAILED], True),
        (fails_silently, "auto", [START, FAILED], True),
        (fails_and_raises, "auto", [START, "no database", FAILED], True),
        (fails_and_raises, "on", [START, "no database", FAILED], True),
        (fails_at_stop, "auto", [START, COMPLETE, STOP, "not saved", STOP_FAILED], True),
        (raises_at_stop, "auto", [START, COMPLETE, STOP, UNSUPPORTED, STOPPED], False),
        (raises_at_stop, "on", [START, COMPLETE, STOP, BROKEN, STOP_FAILED], True),
    ],
)
def test_answers(app: Any, mode: str, lines: list[str], should_exit: bool, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, logger="uvicorn.error")
    propagate, logger.propagate = logger.propagate, False
    try:
        lifespan = live(app, mode)
    finally:
        logger.propagate = propagate
        logger.removeHandler(caplog.handler)
    assert caplog.messages == lines
    assert lifespan.should_exit is should_exit


def test_state_is_what_the_application_left_there() -> None:
    assert live(works, "on").state == {"db": "open"}


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ("lifespan.startup.complete", "lifespan.startup.complete", STATE_TRANSITION_ERROR),
        ("lifespan.startup.complete", "lifespan.startup.failed", STATE_TRANSITION_ERROR),
        ("lifespan.shutdown.complete", None, STATE_TRANSITION_ERROR),
        ("http.response.start", None, "http.response.start"),
    ],
)
def test_answer_out_of_turn_raises_in_the_application(first: str, second: str | None, text: str) -> None:
    caught: list[AssertionError] = []

    async def app(scope: Any, receive: Any, send: Callable[[Any], Any]) -> None:
        try:
            await send({"type": first})
            await send({"type": second})
        except AssertionError as exc:
            caught.append(exc)

    live(app, "auto")
    assert text in str(caught[0])


def test_abandoned_lifespan_ends_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def starlette_like(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            try:
                await receive()
            except BaseException:
                await send({"type": "lifespan.shutdown.failed", "message": "Traceback ..."})
                raise

        config: Any = SimpleNamespace(loaded=True, lifespan="auto", asgi_version="3.0", loaded_app=starlette_like)
        lifespan = LifespanOn(config)
        await lifespan.startup()
        caplog.clear()
        await lifespan.abandon()
        assert caplog.messages == []

    asyncio.run(main())


def test_off_does_nothing() -> None:
    async def main() -> None:
        lifespan = LifespanOff(SimpleNamespace())  # type: ignore[arg-type]
        await lifespan.startup()
        await lifespan.shutdown()
        assert (lifespan.state, lifespan.should_exit) == ({}, False)

    asyncio.run(main())
