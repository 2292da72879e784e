"""The ASGI lifespan: one task that runs the application around the life of the server.

The task is started by `startup()`, which waits until the application has answered; it then sleeps inside
`receive()` until `shutdown()`. `auto` takes an application that raises at the lifespan scope for one that does not
know it; `on` takes the same for a failure. https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn.config import Config

STATE_TRANSITION_ERROR = "Got invalid state transition on lifespan protocol."


class LifespanOn:
    """Runs the application's lifespan; `Config.lifespan` decides what an exception at startup means."""

    def __init__(self, config: Config) -> None:
        if not config.loaded:
            config.load()
        self.config = config
        self.logger = logging.getLogger("uvicorn.error")
        self.startup_event = asyncio.Event()
        """Set when the application has answered to startup, or has ended."""
        self.shutdown_event = asyncio.Event()
        """Set when the application has answered to shutdown, or has ended."""
        self.receive_queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.error_occured = False
        """The application raised: it gets no shutdown event."""
        self.startup_failed = False
        self.shutdown_failed = False
        self.should_exit = False
        """Startup or shutdown failed; after startup the server must not serve."""
        self.state: dict[str, Any] = {}
        """What the application left for its requests; each request gets a shallow copy."""
        self._task: asyncio.Task[None] | None = None
        self._abandoned = False

    async def startup(self) -> None:
        """Run the application up to its answer to `lifespan.startup`; `should_exit` says whether it failed."""
        self.logger.info("Waiting for application startup.")
        self._task = asyncio.get_running_loop().create_task(self.main())
        await self.receive_queue.put({"type": "lifespan.startup"})
        await self.startup_event.wait()
        if self._abandoned:
            return
        if self.startup_failed or (self.error_occured and self.config.lifespan == "on"):
            self.logger.error("Application startup failed. Exiting.")
            self.should_exit = True
        else:
            self.logger.info("Application startup complete.")

    async def shutdown(self) -> None:
        """Let the application clean up, unless it raised before."""
        if self.error_occured:
            return
        self.logger.info("Waiting for application shutdown.")
        await self.receive_queue.put({"type": "lifespan.shutdown"})
        await self.shutdown_event.wait()
        if self._abandoned:
            return
        if self.shutdown_failed or (self.error_occured and self.config.lifespan == "on"):
            self.logger.error("Application shutdown failed. Exiting.")
            self.should_exit = True
        else:
            self.logger.info("Application shutdown complete.")

    async def abandon(self) -> None:
        """End the application's task without a word, for a forced exit. It gets a second to do so."""
        self._abandoned = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1.0)

    async def main(self) -> None:
        """Run the application; the body of the task."""
        scope = {
            "type": "lifespan",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self.config.loaded_app(scope, self.receive, self.send)
        except BaseException as exc:
            self.error_occured = True
            if self._abandoned or _cancelled_from_outside():
                pass  # the loop ends before the application did
            elif self.startup_failed or self.shutdown_failed:
                pass  # it has said what failed in a message of its own
            elif self.config.lifespan == "on":
                self.logger.error("Exception in 'lifespan' protocol\n", exc_info=exc)
            else:
                self.logger.info("ASGI 'lifespan' protocol appears unsupported.")
                self.logger.debug("What the application raised at the lifespan scope:", exc_info=exc)
        finally:
            self.startup_event.set()
            self.shutdown_event.set()

    async def receive(self) -> dict[str, Any]:
        """Give the application its next event: startup, then shutdown."""
        return await self.receive_queue.get()

    async def send(self, message: Mapping[str, Any]) -> None:
        """Take the application's answer. AssertionError for one that is unknown or comes twice."""
        kind = message["type"]
        if kind in ("lifespan.startup.complete", "lifespan.startup.failed"):
            if self.startup_event.is_set() or self.shutdown_event.is_set():
                raise AssertionError(STATE_TRANSITION_ERROR)
            self.startup_failed = kind == "lifespan.startup.failed"
            self._log_reason(self.startup_failed, message)
            self.startup_event.set()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            if not self.startup_event.is_set() or self.shutdown_event.is_set():
                raise AssertionError(STATE_TRANSITION_ERROR)
            self.shutdown_failed = kind == "lifespan.shutdown.failed"
            self._log_reason(self.shutdown_failed, message)
            self.shutdown_event.set()
        else:
            raise AssertionError(f"expected a lifespan.startup or lifespan.shutdown answer, got {kind!r}")

    def _log_reason(self, failed: bool, message: Mapping[str, Any]) -> None:
        if failed and message.get("message") and not self._abandoned:
            self.logger.error(message["message"])


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class LifespanOff:
    """Stands in where the application must not see a lifespan scope."""

    def __init__(self, config: Config) -> None:
        self.should_exit = False
        self.state: dict[str, Any] = {}

    async def startup(self) -> None:
        """Do nothing."""

    async def shutdown(self) -> None:
        """Do nothing."""
