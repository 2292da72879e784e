"""The queue between a connection and its application: order, bounds, waiting and being cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.server.websocket_inbox import MAX_OCTETS, Inbox

END = {"type": "websocket.disconnect", "code": 1000, "reason": "bye"}


def run(test: Callable[[Inbox], Awaitable[Any]], max_messages: int = 4) -> None:
    async def main() -> None:
        inbox = Inbox(asyncio.get_running_loop(), max_messages)
        assert await inbox.receive() == {"type": "websocket.connect"}
        await test(inbox)

    asyncio.run(main())


def test_messages_come_in_order_and_the_end_last_and_for_ever() -> None:
    async def test(inbox: Inbox) -> None:
        inbox.put("text")
        inbox.put(b"bytes")
        inbox.close(1000, "bye")
        inbox.close(1006, "too late")
        assert await inbox.receive() == {"type": "websocket.receive", "text": "text"}
        assert await inbox.receive() == {"type": "websocket.receive", "bytes": b"bytes"}
        assert [await inbox.receive(), await inbox.receive()] == [END, END]

    run(test)


def test_room_and_volume_say_what_may_be_put_in() -> None:
    async def test(inbox: Inbox) -> None:
        assert (inbox.room, inbox.volume) == (4, MAX_OCTETS)
        inbox.put("abc")
        assert (inbox.room, inbox.volume, len(inbox)) == (3, MAX_OCTETS - 3, 1)
        await inbox.receive()
        assert (inbox.room, inbox.volume) == (4, MAX_OCTETS)

    run(test)


def test_room_is_told_when_half_is_free() -> None:
    async def test(inbox: Inbox) -> None:
        told = []
        for number in range(4):
            inbox.put(str(number))
        inbox.on_room = lambda: told.append(len(inbox))
        for _ in range(3):
            await inbox.receive()
        assert told == [2, 1]

    run(test)


def test_a_cancelled_receive_loses_nothing() -> None:
    async def test(inbox: Inbox) -> None:
        first, second = (asyncio.ensure_future(inbox.receive()) for _ in range(2))
        await asyncio.sleep(0)
        inbox.put("one")  # wakes the first, which is cancelled before it runs
        first.cancel()
        assert await asyncio.wait_for(second, 1) == {"type": "websocket.receive", "text": "one"}
        third = asyncio.ensure_future(inbox.receive())
        await asyncio.sleep(0)
        third.cancel()
        await asyncio.sleep(0)
        inbox.put("two")
        assert await inbox.receive() == {"type": "websocket.receive", "text": "two"}

    run(test)


def test_the_end_wakes_all_who_wait() -> None:
    async def test(inbox: Inbox) -> None:
        waiting = [asyncio.ensure_future(inbox.receive()) for _ in range(3)]
        await asyncio.sleep(0)
        inbox.close(1000, "bye")
        assert await asyncio.gather(*waiting) == [END] * 3

    run(test)


def test_before_waiting_an_empty_inbox_asks_for_the_end() -> None:
    async def test(inbox: Inbox) -> None:
        inbox.put("last")
        inbox.on_empty = lambda: inbox.close(1000, "bye")
        assert await inbox.receive() == {"type": "websocket.receive", "text": "last"}
        assert await inbox.receive() == END

    run(test)
