"""What the application goes on with behind its answers, when the server and its event loop end."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from uvicorn.config import Config
from uvicorn.server import Server, afterwork

DEADLINE = 30  # seconds


class App:
    """Begins `work` at the lifespan's startup, or behind the answer to a request."""

    def __init__(self, work: Callable[[], Any], *, at_startup: bool = False) -> None:
        self.work, self.at_startup = work, at_startup
        self.tasks: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            if self.at_startup:
                self.begin()
            for stage in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{stage}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        if not self.at_startup:
            self.begin()

    def begin(self) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(self.work()))


@pytest.fixture
def play() -> Iterator[Callable[..., None]]:
    """Serve in a thread, ask once, stop, and wait for the end."""
    servers: list[Server] = []

    def run(app: App, server_class: type[Server] = Server, **settings: Any) -> None:
        server = server_class(Config(app, port=0, log_config=None, **settings))
        servers.append(server)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + DEADLINE
        while not server.started:
            assert time.monotonic() < deadline, "not started"
            time.sleep(0.01)  # it is another thread that starts it
        address = server.servers[0].sockets[0].getsockname()
        with socket.create_connection(address, timeout=DEADLINE) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while client.recv(4096):
                pass
        while not app.tasks:
            assert time.monotonic() < deadline, "the work has not begun"
            time.sleep(0.01)
        server.should_exit = True
        thread.join(DEADLINE)
        assert not thread.is_alive(), "not ended"

    yield run
    for server in servers:
        server.force_exit = True


def test_work_behind_an_answer_is_finished(play: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(afterwork, "MOMENT", DEADLINE)
    ended: list[str] = []

    class Noting(Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            stopping.set()
            await super().shutdown(sockets)

    async def work() -> None:
        await asyncio.to_thread(stopping.wait)
        await asyncio.sleep(0.05)  # the server has nothing else to wait for by now
        ended.append("work")

    stopping = threading.Event()
    play(App(work), Noting)
    assert ended == ["work"]


@pytest.mark.parametrize("settings", [{}, {"timeout_graceful_shutdown": 0}], ids=["moment", "no grace"])
def test_work_without_end_keeps_nobody(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.setattr(afterwork, "MOMENT", 10 * DEADLINE if settings else 0.05)
    app = App(asyncio.Event().wait)
    play(app, **settings)
    assert app.tasks[0].cancelled()


def test_what_began_before_it_served_is_not_waited_for(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(afterwork, "MOMENT", 10 * DEADLINE)
    app = App(asyncio.Event().wait, at_startup=True)
    play(app)
    assert app.tasks[0].cancelled()


def test_nobody_elses_loop_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(afterwork, "MOMENT", 10 * DEADLINE)

    async def main() -> None:
        server = Server(Config(App(asyncio.Event().wait), port=0, log_config=None))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        other = asyncio.create_task(asyncio.Event().wait())
        server.should_exit = True
        await asyncio.wait_for(serving, DEADLINE)
        assert not other.done()

    asyncio.run(main())
