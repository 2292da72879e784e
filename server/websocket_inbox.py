"""What has come for an application and waits until it asks: a bounded queue, and the end of the connection behind."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

MAX_OCTETS = 1 << 20
"""Of messages that wait, before reading stops. One message may be larger."""

_CONNECT = object()  # stands in the queue for the event websocket.connect


class Inbox:
    """The messages of one connection, and its `receive()`.

    Messages are kept as they are, `str` or `bytes`; the event around one is made when it is taken. `max_messages`
    bounds what is read ahead: whoever puts messages in asks for `room` and `volume` before.
    """

    __slots__ = ("_getters", "_half", "_loop", "_queue", "end", "on_empty", "on_room", "room", "volume")

    def __init__(self, loop: asyncio.AbstractEventLoop, max_messages: int) -> None:
        self._loop = loop
        self._queue: deque[Any] = deque((_CONNECT,))
        self._getters: deque[asyncio.Future[None]] = deque()
        self._half = max_messages - max_messages // 2  # the room at which half of the queue is free
        self.room = max_messages - 1
        """How many more messages may be put in."""
        self.volume = MAX_OCTETS
        """How many more octets."""
        self.end: tuple[int, str] | None = None
        """Code and reason of the disconnect, once there is one. It is delivered last, and again whenever asked."""
        self.on_room: Callable[[], None] | None = None
        """Called when half of the queue is free again, while it is set."""
        self.on_empty: Callable[[], None] | None = None
        """Called before a receive() would wait, while it is set."""

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, message: str | bytes) -> None:
        self._queue.append(message)
        self.room -= 1
        self.volume -= len(message)
        if self._getters:
            self._wake()

    def close(self, code: int, reason: str) -> None:
        """Nothing more will come: end with this code and reason, unless an end was told before."""
        if self.end is None:
            self.end = code, reason
            for getter in self._getters:
                if not getter.done():
                    getter.set_result(None)
            self._getters.clear()

    async def receive(self) -> dict[str, Any]:
        """ASGI receive. Several may wait at once; each gets another message."""
        queue = self._queue
        while not queue:
            if self.on_empty is not None:
                self.on_empty()
            if self.end is not None:
                return {"type": "websocket.disconnect", "code": self.end[0], "reason": self.end[1]}
            getter = self._loop.create_future()
            self._getters.append(getter)
            try:
                await getter
            except BaseException:
                if getter.done() and not getter.cancelled() and queue:
                    self._wake()  # what woke this receive() is for another now
                raise
        message = queue.popleft()
        self.room += 1
        if type(message) is str:
            event: dict[str, Any] = {"type": "websocket.receive", "text": message}
        elif type(message) is bytes:
            event = {"type": "websocket.receive", "bytes": message}
        else:
            return {"type": "websocket.connect"}
        self.volume += len(message)
        if self.on_room is not None and self.room >= self._half and self.volume * 2 >= MAX_OCTETS:
            self.on_room()
        return event

    def _wake(self) -> None:
        getters = self._getters
        while getters:
            getter = getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return
