"""The server's life inside this process: stages, wake-ups, drain and stop, on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from uvicorn.config import Config
from uvicorn.listening import listening_backlog
from uvicorn.server import Server
from uvicorn.server.acceptor import Acceptor
from uvicorn.server.ending import CLOSING

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
DEADLINE = 30.0  # seconds; for what must happen, however slow the machine


class App:
    """An application that notes what happens to it, and answers /slow when it is let go."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.go = asyncio.Event()
        self.startup_fails = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self.events.append("startup")
            if self.startup_fails:
                await send({"type": "lifespan.startup.failed", "message": "no database"})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.events.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/slow":
            self.events.append("slow")
            await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def config(app: Any, **settings: Any) -> Config:
    return Config(app, **{"port": 0, "log_config": None, "http": "h11", **settings})


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a coroutine in a new loop of either kind, within the deadline."""

    def run(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(work, 3 * DEADLINE))

    return run


@pytest.fixture(autouse=True)
def _lines(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    error = logging.getLogger("uvicorn.error")
    before = error.propagate, logging.getLogger("uvicorn").propagate
    error.propagate = logging.getLogger("uvicorn").propagate = True
    caplog.set_level(logging.INFO, logger="uvicorn.error")
    yield
    error.propagate, logging.getLogger("uvicorn").propagate = before


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE} s until {what}"
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def serving(server: Server, **options: Any) -> Any:
    """The server in a task of this loop, until it is told to stop or the block ends."""
    task = asyncio.ensure_future(server.serve(**options))
    await until(lambda: server.started or task.done(), "the server has started")
    try:
        yield task
    finally:
        server.should_exit = True
        await task


def port_of(server: Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, server: Server, **options: Any) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port_of(server), **options))

    def ask(self, path: str = "/") -> None:
        self.writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())

    async def answer(self) -> bytes:
        """Head and body of one response; what there is at end-of-file."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            return head + await self.reader.readexactly(2)
        except asyncio.IncompleteReadError as exc:
            return exc.partial

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def test_stages_come_in_order_with_their_lines(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        app = App()
        server = Server(config(app))
        async with serving(server):
            client = await Client.connect(server)
            client.ask()
            assert (await client.answer()).endswith(b"ok")
            await client.close()
        assert app.events == ["startup", "shutdown"]
        pid = os.getpid()
        assert [message for message in caplog.messages if "HTTP/1.1" not in message] == [
            f"Started server process [{pid}]",
            "Waiting for application startup.",
            "Application startup complete.",
            f"Uvicorn running on http://127.0.0.1:{port} (Press CTRL+C to quit)",
            "Shutting down",
            "Waiting for application shutdown.",
            "Application shutdown complete.",
            f"Finished server process [{pid}]",
        ]

    port = 0
    original = Server._log_running

    def note_port(self: Server) -> None:
        nonlocal port
        port = port_of(self)
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "_log_running", note_port)
        run(main())


def test_should_exit_set_in_another_thread_ends_it_at_once(run: Any) -> None:
    async def main() -> None:
        server = Server(config(App()))
        async with serving(server) as task:
            assert server._clock() == (None, 0)  # no tick would notice it
            threading.Timer(0.05, lambda: setattr(server, "should_exit", True)).start()
            await task

    run(main())


@pytest.mark.parametrize("subclass", ["none", "on_tick"])
def test_an_idle_server_has_no_timer_of_its_own(run: Any, subclass: str) -> None:
    """A subclass that wants to be called regularly shows that the count works."""

    class Ticking(Server):
        async def on_tick(self, counter: int) -> bool:
            return await super().on_tick(counter)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        timers: list[float] = []
        server = (Server if subclass == "none" else Ticking)(config(App()))
        async with serving(server):
            assert server._clock() == ((None, 0) if subclass == "none" else (0.1, 1))
            call_later = loop.call_later

            def counted(delay: float, *args: Any, **kw: Any) -> asyncio.TimerHandle:
                timers.append(delay)
                return call_later(delay, *args, **kw)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(loop, "call_later", counted)
                while True:
                    await asyncio.to_thread(time.sleep, 0.3)  # asyncio.sleep() would be a timer
                    if timers or subclass == "none":
                        break
        assert timers == [] if subclass == "none" else set(timers) == {0.1}

    run(main())


def test_on_tick_of_a_subclass_comes_ten_times_a_second(run: Any) -> None:
    class Ticking(Server):
        ticks: list[int]

        async def on_tick(self, counter: int) -> bool:
            self.ticks.append(counter)
            return await super().on_tick(counter) or counter >= 5

    async def main() -> None:
        server = Ticking(config(App()))
        server.ticks = []
        assert server._clock() == (0.1, 1)
        await server.serve()
        assert server.ticks == [0, 1, 2, 3, 4, 5]

    run(main())


def test_callback_notify_is_called_after_each_timeout_notify(run: Any) -> None:
    async def main() -> None:
        calls: list[int] = []

        async def notify() -> None:
            calls.append(server.server_state.total_requests)

        server = Server(config(App(), callback_notify=notify, timeout_notify=0))
        async with serving(server):
            assert server._clock() == (1.0, 10)
            await until(lambda: len(calls) >= 2, "callback_notify was called twice")

    run(main())


def test_heartbeat_comes_while_serving_and_while_draining(run: Any) -> None:
    async def main() -> None:
        app, beats, ready = App(), [], []
        server = Server(config(app))
        server.on_heartbeat = lambda: beats.append(time.monotonic())
        server.on_ready = lambda: ready.append(server.started)
        async with serving(server) as task:
            assert ready == [True]
            assert beats
            client = await Client.connect(server)
            client.ask("/slow")
            await until(lambda: "slow" in app.events, "the request runs")
            server.should_exit = True
            now = len(beats)
            await until(lambda: len(beats) > now, "a heartbeat came during the drain")
            assert not task.done()
            app.go.set()
            assert (await client.answer()).endswith(b"ok")
            await client.close()

    run(main())


def test_maximum_of_requests_ends_it_without_a_clock(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = Server(config(App(), limit_max_requests=2, http="auto"))
        async with serving(server) as task:
            assert server._clock() == (None, 0)
            client = await Client.connect(server)
            for _ in range(2):
                client.ask()
                assert (await client.answer()).endswith(b"ok")
            await task
            await client.close()
        assert "Maximum request limit of 2 exceeded. Terminating process." in caplog.messages

    run(main())


@pytest.mark.parametrize("answered", [1, 2], ids=["not yet reached", "already reached"])
def test_maximum_of_requests_may_be_set_while_it_serves(run: Any, answered: int) -> None:
    async def main() -> None:
        server = Server(config(App(), http="auto"))
        async with serving(server) as task:
            client = await Client.connect(server)
            for number in range(2):
                if number == answered:
                    server.limit_max_requests = 2
                client.ask()
                assert (await client.answer()).endswith(b"ok")
            server.limit_max_requests = 2
            await task
            await client.close()

    run(main())


def test_it_can_be_run_by_stages(run: Any) -> None:
    async def main() -> None:
        app = App()
        conf = config(app)
        with socket.create_server(("127.0.0.1", 0)) as sock:
            conf.load()
            server = Server(conf)
            server.lifespan = conf.lifespan_class(conf)
            await server.startup(sockets=[sock])
            assert server.started
            assert port_of(server) == sock.getsockname()[1]
            loop_task = asyncio.ensure_future(server.main_loop())
            client = await Client.connect(server)
            client.ask()
            assert (await client.answer()).endswith(b"ok")
            await client.close()
            server.should_exit = True
            await loop_task
            await server.shutdown(sockets=[sock])
            assert sock.fileno() == -1
        assert app.events == ["startup", "shutdown"]

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_it_can_be_run_twice(loop: str) -> None:
    app = App()
    server = Server(config(app, loop=loop, limit_max_requests=0))
    server.run()
    server.run()
    assert app.events == ["startup", "shutdown"] * 2


@pytest.mark.parametrize("loop", LOOPS)
def test_in_a_thread_it_serves_and_leaves_signals_alone(loop: str) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    server = Server(config(App(), loop=loop))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + DEADLINE
        while not server.started:
            assert time.monotonic() < deadline, "the server has not started"
            time.sleep(0.01)
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
        with socket.create_connection(("127.0.0.1", port_of(server)), timeout=DEADLINE) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert client.makefile("rb").read().endswith(b"ok")
    finally:
        server.should_exit = True
        thread.join(DEADLINE)
    assert not thread.is_alive()


def test_failed_startup_exits_3_and_never_listens(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        app = App()
        app.startup_fails = True
        server = Server(config(app))
        with pytest.raises(SystemExit) as exit_:
            await server.serve()
        assert exit_.value.code == 3
        assert not server.started
        assert server.servers == []

    run(main())
    assert caplog.messages[-2:] == ["no database", "Application startup failed. Exiting."]


def test_taken_port_is_told_before_the_application_starts(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        app = App()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = Server(config(app, port=taken.getsockname()[1]))
            with pytest.raises(SystemExit) as exit_:
                await server.serve()
        assert exit_.value.code == 3
        assert app.events == []

    run(main())
    assert "address already in use" in caplog.messages[-1]


def test_connections_are_refused_until_the_application_has_started(run: Any) -> None:
    async def main() -> None:
        ready = asyncio.Event()

        async def slow_start(scope: Any, receive: Any, send: Any) -> None:
            for stage in ("startup", "shutdown"):
                await receive()
                if stage == "startup":
                    await ready.wait()
                await send({"type": f"lifespan.{stage}.complete"})

        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            server = Server(config(slow_start))
            task = asyncio.ensure_future(server.serve(sockets=[sock]))
            await asyncio.sleep(0.05)
            with socket.socket() as client:
                assert client.connect_ex(sock.getsockname()) != 0
            ready.set()
            await until(lambda: server.started, "the server has started")
            with socket.socket() as client:
                assert client.connect_ex(sock.getsockname()) == 0
            server.should_exit = True
            await task

    run(main())


def test_listening_socket_that_is_given_keeps_its_backlog(run: Any) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=37) as sock:
            server = Server(config(App(), backlog=555))
            async with serving(server, sockets=[sock.dup()]):
                assert listening_backlog(sock) == 37
                client = await Client.connect(server)
                client.ask()
                assert (await client.answer()).endswith(b"ok")
                await client.close()
        with socket.socket() as fresh:
            fresh.bind(("127.0.0.1", 0))
            server = Server(config(App(), backlog=555))
            async with serving(server, sockets=[fresh.dup()]):
                assert listening_backlog(fresh) == 555

    run(main())


def test_unix_socket_that_is_given_is_served_and_left_in_place(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "app.sock"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
            sock.listen(3)
            server = Server(config(App()))
            async with serving(server, sockets=[sock.dup()]):
                assert isinstance(server.servers[0], Acceptor)  # its backlog cannot be read, so we accept ourselves
                assert server.servers[0].sockets[0].getsockname() == str(path)
                client = Client(*await asyncio.open_unix_connection(str(path)))
                client.ask()
                assert (await client.answer()).endswith(b"ok")
                await client.close()
            assert path.exists()

    run(main())


def test_unix_path_of_ours_is_removed(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "app.sock"
        server = Server(config(App(), uds=str(path)))
        async with serving(server):
            client = Client(*await asyncio.open_unix_connection(str(path)))
            client.ask()
            assert (await client.answer()).endswith(b"ok")
            await client.close()
        assert not path.exists()

    run(main())


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_whoever_waits_in_the_accept_queue_at_a_stop_is_answered(run: Any, kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        settings: dict[str, Any] = {"uds": str(tmp_path / "app.sock")} if kind == "unix" else {}
        server = Server(config(App(), **settings))
        async with serving(server) as task:
            address = server.servers[0].sockets[0].getsockname()
            clients = [socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) for _ in range(40)]
            for client in clients:  # blocking: the loop, in this very thread, cannot accept any of them meanwhile
                client.connect(address)
                client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            server.should_exit = True
            await task
        for client in clients:
            client.settimeout(DEADLINE)
            data = client.makefile("rb").read()
            assert data.startswith(b"HTTP/1.1 200"), data
            client.close()

    run(main())


def test_limit_of_the_drain_cancels_and_the_lifespan_still_ends(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        app = App()
        server = Server(config(app, timeout_graceful_shutdown=1))
        async with serving(server):
            client = await Client.connect(server)
            client.ask("/slow")
            await until(lambda: "slow" in app.events, "the request runs")
            began = time.monotonic()
            server.should_exit = True
            assert (await client.answer()).startswith(b"HTTP/1.1 500")
            assert time.monotonic() - began > 0.2, "it was not let run"
            await client.close()
        assert app.events == ["startup", "slow", "shutdown"]

    run(main())
    assert "Waiting for connections to close. (CTRL+C to force quit)" in caplog.messages
    assert "Cancel 1 running task(s), timeout graceful shutdown exceeded" in caplog.messages


@pytest.mark.parametrize("how", ["limit 0", "stop_now"])
def test_no_grace_cancels_at_once(run: Any, how: str) -> None:
    async def main() -> None:
        app = App()
        server = Server(config(app, timeout_graceful_shutdown=0 if how == "limit 0" else None))
        async with serving(server) as task:
            client = await Client.connect(server)
            client.ask("/slow")
            await until(lambda: "slow" in app.events, "the request runs")
            if how == "limit 0":
                server.should_exit = True
            else:
                server.stop_now()
            assert (await client.answer()).startswith(b"HTTP/1.1 500")
            await client.close()
            await task
        assert app.events[-1] == "shutdown"

    run(main())


def test_client_that_does_not_close_is_not_waited_for_as_a_task_is(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("draining._AFTER_CANCEL", "ending._LINGER_PAUSE", "ending._LINGER_TOTAL"):
        monkeypatch.setattr(f"uvicorn.server.{name}", 10 * DEADLINE)

    async def main() -> None:
        app = App()
        server = Server(config(app, timeout_graceful_shutdown=0))
        async with serving(server) as task:
            client = await Client.connect(server)
            client.ask("/slow")
            await until(lambda: "slow" in app.events, "the request runs")
            server.should_exit = True
            await asyncio.wait_for(task, DEADLINE)
            assert (await client.answer()).startswith(b"HTTP/1.1 500")
            await client.close()

    run(main())


def test_application_that_will_not_be_cancelled_does_not_keep_it(run: Any) -> None:
    async def main() -> None:
        inside = asyncio.Event()
        release = asyncio.Event()

        async def stubborn(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            inside.set()
            while not release.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await release.wait()

        server = Server(config(stubborn, timeout_graceful_shutdown=0))
        async with serving(server) as task:
            client = await Client.connect(server)
            client.ask()
            await inside.wait()
            server.should_exit = True
            await task
        await client.close()
        release.set()
        await asyncio.sleep(0)

    run(main())


def test_forced_exit_waits_for_nothing_and_skips_the_lifespan(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        app = App()
        server = Server(config(app))
        async with serving(server) as task:
            client = await Client.connect(server)
            client.ask("/slow")
            await until(lambda: "slow" in app.events, "the request runs")
            server.should_exit = True
            await until(lambda: "Shutting down" in caplog.messages, "the drain has begun")
            threading.Timer(0.05, lambda: setattr(server, "force_exit", True)).start()
            await task  # although the application never lets go of its request
            await client.close()
        assert "shutdown" not in app.events

    run(main())
    assert "Application shutdown complete." not in caplog.messages


def test_forced_exit_ends_a_lifespan_that_hangs(run: Any) -> None:
    async def main() -> None:
        stages: list[str] = []

        async def hangs(scope: Any, receive: Any, send: Any) -> None:
            stages.append((await receive())["type"])
            if hang_at == "startup":
                await asyncio.Event().wait()
            await send({"type": "lifespan.startup.complete"})
            stages.append((await receive())["type"])
            await asyncio.Event().wait()

        for hang_at in ("startup", "shutdown"):
            stages.clear()
            server = Server(config(hangs))
            task = asyncio.ensure_future(server.serve())
            if hang_at == "startup":
                await until(lambda: stages, "startup hangs")
                server.should_exit = True
            else:
                await until(lambda: server.started, "the server has started")  # noqa: B023
                server.should_exit = True
                await until(lambda: len(stages) == 2, "shutdown hangs")
            server.force_exit = True
            await task
            assert server.started is (hang_at == "shutdown")

    run(main())


def test_retiring_leaves_idle_connections_their_next_request(run: Any) -> None:
    async def main() -> None:
        seen: list[int] = []

        class Watched(Server):
            def handle_exit(self, sig: int, frame: Any) -> None:
                seen.append(sig)
                super().handle_exit(sig, frame)

        with socket.create_server(("127.0.0.1", 0)) as shared:
            app = App()
            server = Watched(config(app))
            async with serving(server, sockets=[shared.dup()]) as task:
                idle = await Client.connect(server)
                fresh = await Client.connect(server)
                idle.ask()
                assert b"connection: close" not in (await idle.answer()).lower()
                await until(lambda: len(server.server_state.connections) == 2, "both are accepted")
                stopped: list[bool] = []
                server.on_accept_stopped = lambda: stopped.append(True)
                server.retire()
                await until(lambda: stopped, "it has let go of its socket")
                waiting = socket.create_connection(shared.getsockname())  # for the others, who share the socket
                await asyncio.sleep(0.1)
                assert server.server_state.draining == "retire"
                assert not task.done()
                for client in (idle, fresh):
                    client.ask()
                    answer = (await client.answer()).lower()
                    assert answer.endswith(b"ok")
                    assert b"connection: close" in answer
                    assert await client.reader.read() == b""
                    await client.close()
                await task
            assert seen == [signal.SIGTERM]
            assert server._captured_signals == []
            assert app.events[-1] == "shutdown"
            accepted, _ = shared.accept()
            accepted.close()
            waiting.close()

    run(main())


def test_stop_during_a_retirement_closes_idle_connections(run: Any) -> None:
    async def main() -> None:
        server = Server(config(App(), timeout_keep_alive=60))
        async with serving(server) as task:
            idle = await Client.connect(server)
            idle.ask()
            await idle.answer()
            server.retire()
            await until(lambda: server.server_state.draining == "retire", "it drains")
            await asyncio.sleep(0.05)
            assert not task.done()
            server.handle_exit(signal.SIGTERM, None)
            await asyncio.wait_for(task, DEADLINE)
            await idle.close()
            server._captured_signals.clear()

    # The signal is noted as one that came; in a thread nothing is raised again for it.
    outcome: list[BaseException] = []

    def in_thread() -> None:
        try:
            run(main())
        except BaseException as exc:
            outcome.append(exc)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join(4 * DEADLINE)
    assert not thread.is_alive()
    assert not outcome, outcome


class Plain(asyncio.Protocol):
    """A protocol class of somebody else: it knows of nothing but shutdown()."""

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        self.state = server_state

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.state.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.state.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self.state.total_requests += 1
        self.transport.write(b"ok")

    def shutdown(self) -> None:
        self.transport.close()


@pytest.mark.parametrize("end", ["retire", "stop", "limit"])
def test_protocol_class_of_others_needs_only_shutdown(run: Any, end: str) -> None:
    async def main() -> None:
        server = Server(config(App(), http=Plain, limit_max_requests=1 if end == "limit" else None))
        async with serving(server) as task:
            client = await Client.connect(server)
            client.writer.write(b"hello")
            assert await client.reader.readexactly(2) == b"ok"
            if end == "retire":
                server.retire()
            elif end == "stop":
                server.should_exit = True
            await task
            assert await client.reader.read() == b""
            await client.close()

    run(main())


def test_tls_is_served_and_a_stalled_handshake_ends(run: Any, certificates: Any) -> None:
    async def main() -> None:
        server = Server(
            config(
                App(),
                ssl_keyfile=str(certificates.key),
                ssl_certfile=str(certificates.certificate),
                timeout_tls_handshake=2,
            )
        )
        async with serving(server):
            client = await Client.connect(server, ssl=certificates.context(), server_hostname="localhost")
            client.ask()
            assert (await client.answer()).endswith(b"ok")
            stalled = await Client.connect(server)
            began = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                assert await stalled.reader.read() == b""
            assert time.monotonic() - began > 0.5, "it was given no time"
            plain = await Client.connect(server)
            plain.ask()
            with contextlib.suppress(ConnectionResetError):
                await plain.reader.read()
            for each in (client, stalled, plain):
                with contextlib.suppress(ssl.SSLError):
                    await each.close()

    run(main())


def tls_client(server: Server, certificates: Any, path: str, fields: str = "") -> ssl.SSLSocket:
    """Connect with a small receive buffer and ask; what it is sent afterwards it does not look at. Blocks."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.settimeout(DEADLINE)
    sock.connect(("127.0.0.1", port_of(server)))
    client: ssl.SSLSocket = certificates.context().wrap_socket(sock, server_hostname="localhost")
    client.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n{fields}\r\n".encode())
    assert client.recv(12) == b"HTTP/1.1 200"
    return client


def test_tls_client_that_does_not_answer_the_end_does_not_hold_a_stop(run: Any, certificates: Any) -> None:
    async def main() -> None:
        files = {"ssl_keyfile": str(certificates.key), "ssl_certfile": str(certificates.certificate)}
        server = Server(config(App(), timeout_keep_alive=3600, **files))
        async with serving(server) as task:
            client = await asyncio.to_thread(tls_client, server, certificates, "/")
            server.should_exit = True
            done, _ = await asyncio.wait({task}, timeout=DEADLINE)
            client.close()
            assert done

    run(main())


def test_tls_client_that_reads_slowly_gets_an_answer_that_ends_its_connection_whole(
    certificates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio.constants, "SSL_SHUTDOWN_TIMEOUT", 0.1, raising=False)  # what the loop gives by itself
    large = bytes(20_000_000)  # more than the kernel takes

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": large})

    def rest(client: ssl.SSLSocket) -> bytes:
        pieces = []
        while piece := client.recv(1 << 20):
            pieces.append(piece)
        client.close()
        return b"".join(pieces)

    async def main() -> None:
        files = {"ssl_keyfile": str(certificates.key), "ssl_certfile": str(certificates.certificate)}
        server = Server(config(app, lifespan="off", timeout_write=3600, **files))
        async with serving(server):
            client = await asyncio.to_thread(tls_client, server, certificates, "/", "connection: close\r\n")
            phases = server.server_state.connections
            await until(lambda: [each.phase for each in phases] == [CLOSING], "the connection is closed behind it")
            await asyncio.sleep(0.5)
            assert (await asyncio.to_thread(rest, client)).endswith(large)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(asyncio.wait_for(main(), 3 * DEADLINE))


def test_handshake_that_is_under_way_at_a_stop_is_served(run: Any, certificates: Any) -> None:
    async def main() -> None:
        server = Server(config(App(), ssl_keyfile=str(certificates.key), ssl_certfile=str(certificates.certificate)))
        async with serving(server) as task:
            sock = socket.create_connection(("127.0.0.1", port_of(server)))
            await until(lambda: server._acceptors[0].pending, "it is accepted")
            server.should_exit = True
            await until(lambda: server.server_state.draining, "the drain has begun")
            sock.setblocking(False)
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=certificates.context(), server_hostname="localhost"
            )
            client = Client(reader, writer)
            client.ask()
            assert (await client.answer()).endswith(b"ok")
            with contextlib.suppress(ssl.SSLError):
                await client.close()
            await task

    run(main())


class Turns:
    """A gate that leaves each connection to others a few times, and then takes it."""

    def __init__(self, pauses: int) -> None:
        self.pauses = pauses
        self.asked: list[float] = []
        self.accepted_so_far = 0

    def ask(self, waited: float) -> tuple[int, float]:
        self.asked.append(waited)
        return (1, 0.0) if len(self.asked) % (self.pauses + 1) == 0 else (0, 0.001)

    def looked(self, accepted: int) -> None:
        self.accepted_so_far += accepted


def test_gate_is_asked_again_while_a_connection_waits_and_told_when_it_is_accepted(run: Any) -> None:
    async def main() -> None:
        server = Server(config(App()))
        server.accept_gate = gate = Turns(pauses=2)
        async with serving(server):
            clients = [await Client.connect(server) for _ in range(3)]
            for client in clients:
                client.ask()
            for client in clients:
                assert (await client.answer()).endswith(b"ok")
                await client.close()
        assert gate.asked == [0.0, 0.001, 0.001] * 3
        assert gate.accepted_so_far == 3

    run(main())


def test_connection_that_others_took_meanwhile_is_not_asked_for_again(run: Any) -> None:
    async def main() -> None:
        server = Server(config(App()))

        class Robbed(Turns):
            """During the first pause another worker takes the connection."""

            def ask(self, waited: float) -> tuple[int, float]:
                if not self.asked:
                    server._sockets[0].accept()[0].close()
                return super().ask(waited)

        server.accept_gate = gate = Robbed(pauses=1)
        async with serving(server):
            sock = socket.create_connection(("127.0.0.1", port_of(server)))
            await until(lambda: gate.asked, "the gate is asked")
            await until(lambda: not server._acceptors[0]._resumption, "the pause is over")
            sock.close()
            client = await Client.connect(server)
            client.ask()
            assert (await client.answer()).endswith(b"ok")
            await client.close()
        assert gate.asked == [0.0, 0.0]
        assert gate.accepted_so_far == 1

    run(main())


def test_connection_is_counted_once_from_its_accept_to_its_end(run: Any) -> None:
    """Also between the accept and the protocol object, and while both exist."""

    async def main() -> None:
        server = Server(config(App()))
        server.accept_gate = gate = Turns(pauses=0)
        counts: set[int] = set()

        def count() -> int:
            connections = server.server_state.connections
            return len(connections) + sum(one.unmade(connections) for one in server._acceptors)

        async def watch() -> None:
            while gate.accepted_so_far < 1 or server._acceptors[0].pending or not server.server_state.connections:
                if gate.accepted_so_far:
                    counts.add(count())
                await asyncio.sleep(0)

        async with serving(server):
            watcher = asyncio.ensure_future(watch())
            client = await Client.connect(server)
            await asyncio.wait_for(watcher, 15)
            assert counts == {1}
            assert count() == 1
            await client.close()
            await until(lambda: not count(), "it has ended")

    run(main())
