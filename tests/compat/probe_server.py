"""Server, formatters, lifespan: seen from inside."""

import asyncio
import logging
import os
import signal
import socket
import threading

from probing import config, finish, logged, module, observe, plain, wait_for

import uvicorn

# -- 2.4 Server --------------------------------------------------------------------------------------------------------


@observe("server/attributes")
def _():
    names = ["started", "should_exit", "force_exit", "last_notified", "limit_max_requests", "_captured_signals"]
    server = uvicorn.Server(config(limit_max_requests=7))
    state = server.server_state
    return [
        {name: plain(getattr(server, name)) for name in names},
        {name: plain(type(getattr(state, name))) for name in ("total_requests", "connections", "tasks")},
        isinstance(state.default_headers, list),
    ]


class Traced(uvicorn.Server):
    """Notes which methods are called, in their order."""

    calls = ()

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        named = ("serve", "_serve", "startup", "main_loop", "shutdown", "capture_signals")
        if name in named:
            self.calls = (*self.calls, name)
        return value


async def lifespan_app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


@observe("server/call-order")
def _():
    server = Traced(config(lifespan_app, port=0, limit_max_requests=0))
    with logged() as lines:
        server.run()
    return [list(server.calls), server.started, [line.rpartition("127.0.0.1:")[0] or line for line in lines]]


@observe("server/in-a-thread")
def _():
    before = signal.getsignal(signal.SIGINT)
    server = uvicorn.Server(config(port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(server)
    port = server.servers[0].sockets[0].getsockname()[1]
    untouched = signal.getsignal(signal.SIGINT) is before
    server.should_exit = True
    thread.join()
    return [port > 0, untouched]


@observe("server/handlers")
async def _():
    server = uvicorn.Server(config(port=0))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    handler = signal.getsignal(signal.SIGTERM)
    facts = [getattr(handler, "__self__", None) is server, getattr(handler, "__name__", None)]
    server.handle_exit(signal.SIGINT, None)
    facts += [server.should_exit, server.force_exit]
    server.handle_exit(signal.SIGTERM, None)
    facts.append(server.force_exit)
    server._captured_signals.clear()
    await task
    return [*facts, signal.getsignal(signal.SIGTERM) == signal.SIG_DFL]


@observe("server/split-life")
async def _():
    one = config(lifespan_app)
    one.load()
    server = uvicorn.Server(one)
    server.lifespan = one.lifespan_class(one)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    await server.startup(sockets=[sock])
    facts = [server.started, len(server.servers)]
    server.should_exit = True
    await server.main_loop()
    await server.shutdown(sockets=[sock])
    return [*facts, sock.fileno()]


@observe("server/signals-again")
def _():
    """After the server has stopped by a signal, the handlers of before are called."""
    caught = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    server = uvicorn.Server(config(port=0))
    threading.Thread(target=lambda: (wait_for(server), os.kill(os.getpid(), signal.SIGTERM))).start()
    server.run()
    signal.signal(signal.SIGTERM, before)
    return [int(number) for number in caught]


# -- 3 formatters ------------------------------------------------------------------------------------------------------


@observe("formatters")
def _():
    logs = module("uvicorn.logging")
    results = []
    for level in (5, 10, 20, 30, 40, 50):
        logging.addLevelName(5, "TRACE")
        record = logging.LogRecord("uvicorn.error", level, "", 0, "hello %s", ("you",), None)
        record.color_message = "coloured %s"
        fmt = "%(levelprefix)s %(message)s"
        results += [logs.DefaultFormatter(fmt, use_colors=colours).format(record) for colours in (False, True)]
    for status in (101, 200, 302, 404, 500, 799):
        arguments = ("1.2.3.4:5", "GET", "/a?b=c", "1.1", status)
        record = logging.LogRecord("uvicorn.access", 20, "", 0, '%s - "%s %s HTTP/%s" %d', arguments, None)
        fmt = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'
        results += [logs.AccessFormatter(fmt, use_colors=colours).format(record) for colours in (False, True)]
    return results


@observe("style")
def _():
    style = module("uvicorn._ansi").style
    return [style("x"), style("x", "red"), style("x", fg="bright_white", bold=True), style("x", bold=True)]


# -- 4.10 lifespan -----------------------------------------------------------------------------------------------------


def acts(*steps):
    async def app(scope, receive, send):
        for step in steps:
            if isinstance(step, Exception):
                raise step
            if step == "receive":
                await receive()
            else:
                await send(
                    {"type": f"lifespan.{step}", "message": "why"} if "failed" in step else {"type": f"lifespan.{step}"}
                )

    return app


LIVES = {
    "complete": acts("receive", "startup.complete", "receive", "shutdown.complete"),
    "raises": acts(ValueError("at once")),
    "raises after receive": acts("receive", ValueError("at startup")),
    "returns": acts(),
    "failed": acts("receive", "startup.failed"),
    "raises after failed": acts("receive", "startup.failed", ValueError("after")),
    "shutdown failed": acts("receive", "startup.complete", "receive", "shutdown.failed"),
    "raises at shutdown": acts("receive", "startup.complete", "receive", ValueError("at shutdown")),
    "unknown": acts("receive", "startup.unknown"),
    "complete twice": acts("receive", "startup.complete", "startup.complete"),
}
for name, application in LIVES.items():
    for mode in ("auto", "on"):

        @observe(f"lifespan/{name}/{mode}")
        async def _(application=application, mode=mode):
            one = config(application, lifespan=mode, interface="asgi3")
            one.load()
            lifespan = one.lifespan_class(one)
            with logged() as lines:
                await lifespan.startup()
                started = lifespan.should_exit
                if not started:
                    await lifespan.shutdown()
            return [started, lifespan.should_exit, lines]


@observe("lifespan/scope")
async def _():
    seen = []

    async def app(scope, receive, send):
        seen.append(plain(dict(scope)))

    one = config(app, lifespan="on")
    one.load()
    await one.lifespan_class(one).startup()
    return seen


finish()
