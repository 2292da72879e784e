"""The end of a server's connections: who is told, what is waited for and for how long, and what is cut.

    drain: tell all, wait, say what for -> nothing is left
                                        -> `timeout_graceful_shutdown` has passed: cancel, a moment, abort
    abandon: abort, cancel

Nobody tells when the last connection ends, so the wait goes in laps; whatever else happens wakes it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn.config import Config

    from .acceptor import Acceptor
    from .state import ServerState
    from .waker import Waker

logger = logging.getLogger("uvicorn.error")

_ANNOUNCE_AFTER = 0.1  # seconds of waiting before a line says so
_DRAIN_LAP = 0.05  # seconds
_LENIENT = 1.0  # seconds for the next request of idle connections
_AFTER_CANCEL = 1.0  # seconds that cancelled tasks have for their last words
_LAST_OCTETS = 0.25  # seconds that these have to reach their clients
_PASSED = "Task cancelled, timeout graceful shutdown exceeded"


class Draining:
    """The part of `lifecycle.Server` that ends its connections."""

    config: Config
    server_state: ServerState
    lifespan: Any
    force_exit: bool
    _acceptors: list[Acceptor]
    _hurried: bool
    _retiring: bool

    def _attach(self) -> Waker:
        """Return what wakes the server in the running loop."""
        raise NotImplementedError

    async def _stop_accepting(self, *, accept_rest: bool) -> None:
        """Let go of the listening sockets; `accept_rest`: with what waits in their queues accepted first."""
        raise NotImplementedError

    async def _notify(self) -> None:
        """Call who wants to be called once a while."""
        raise NotImplementedError

    async def _drain(self, *, lenient: bool = False) -> None:
        """Wait for the connections to end. `lenient`: a stop treats idle ones as a retirement does, for a moment."""
        state, waker, loop = self.server_state, self._attach(), asyncio.get_running_loop()
        began = loop.time()
        told: set[Any] = set()
        retiring = self._retiring or lenient
        announced = ""
        turns = 0
        while not self.force_exit:
            if lenient and (self._hurried or loop.time() - began >= _LENIENT):
                lenient = False
            if retiring and not self._retiring and not lenient:  # a stop came: the idle ones close now after all
                retiring = False
                state.draining = "stop"
                told.clear()
            self._tell(told, retire=retiring)
            # Closing takes a turn or two of the loop; then the laps grow, since nobody tells us when the last one ends.
            if turns < 3:
                turns += 1
                await asyncio.sleep(0)
            else:
                turns = min(turns + 1, 8)
                await waker.sleep(min(0.01 * (turns - 3), _DRAIN_LAP))
            waiting = self._waiting_for()
            if not waiting:
                return
            elapsed = loop.time() - began
            if elapsed >= _ANNOUNCE_AFTER and waiting != announced:
                announced = waiting
                logger.info("Waiting for %s. (CTRL+C to force quit)", waiting)
            limit = 0 if self._hurried else self.config.timeout_graceful_shutdown
            if limit is not None and elapsed >= limit:
                await self._cancel(told)
                return
            await self._notify()

    def _tell(self, told: set[Any], *, retire: bool) -> None:
        """Tell every connection that it is time to end: those open now, and those whose handshake ends later."""
        connections = self.server_state.connections
        told &= connections
        for connection in list(connections):
            if connection not in told:
                told.add(connection)
                end = getattr(connection, "retire", None) if retire else None
                (end or connection.shutdown)()

    def _waiting_for(self) -> str:
        if self.server_state.connections or any(acceptor.pending for acceptor in self._acceptors):
            return "connections to close"
        return "background tasks to complete" if self.server_state.tasks else ""

    async def _cancel(self, told: set[Any]) -> None:
        """End what the limit found running; give it a moment to say so to its client."""
        tasks = [task for task in self.server_state.tasks if not task.done()]
        if tasks:
            logger.error("Cancel %s running task(s), timeout graceful shutdown exceeded", len(tasks))
        for connection in list(self.server_state.connections):
            hurry = getattr(connection, "hurry", None)
            if hurry is not None:
                hurry()
        for task in tasks:
            task.cancel(msg=_PASSED)
        self._cancel_pending()
        waker, loop = self._attach(), asyncio.get_running_loop()
        deadline = loop.time() + _AFTER_CANCEL
        self.server_state.draining = "stop"
        speaking = True
        while self._waiting_for() and loop.time() < deadline and not self.force_exit:
            self._tell(told, retire=False)
            if speaking and not self.server_state.tasks:
                speaking = False
                deadline = min(deadline, loop.time() + _LAST_OCTETS)
            await waker.sleep(0.01)
        self._abort_connections()

    def _cancel_pending(self) -> None:
        for acceptor in self._acceptors:
            for task in list(acceptor.pending):
                task.cancel()

    def _abort_connections(self) -> None:
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()

    async def _abandon(self) -> None:
        """A forced exit: end everything at once and in silence."""
        await self._stop_accepting(accept_rest=False)
        self._cancel_pending()
        tasks = [task for task in self.server_state.tasks if not task.done()]
        self._abort_connections()
        for task in tasks:
            task.cancel()
        logger.addFilter(_is_not_a_cancellation)  # whoever forces us knows that requests are cut off
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=_AFTER_CANCEL)
            abandon = getattr(self.lifespan, "abandon", None)
            if abandon is not None:
                await abandon()
        finally:
            logger.removeFilter(_is_not_a_cancellation)


def _is_not_a_cancellation(record: logging.LogRecord) -> bool:
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)
