"""The packages, each with a small application, the command of its own documentation, and questions to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .questions import (
    Question,
    accepts_websocket,
    answers_by_events,
    gets,
    greets_by_websocket,
    polls_socketio,
    serves_events,
    talks_websocket,
)


@dataclass(frozen=True)
class Case:
    name: str
    requirements: Sequence[str]
    files: Mapping[str, str]
    command: Callable[[int], Sequence[str]]
    """For a port; the first word is looked up in the environment's bin/."""
    questions: Sequence[Question]
    exits: Mapping[str, Sequence[int]] = field(default_factory=lambda: {"SIGINT": (0,), "SIGTERM": (0,)})
    """Exit statuses that are clean, by what stops it."""
    open_stream: str | None = None
    """A path whose answer does not end: it is being read when the stop comes, and must not hold it up."""
    errors_of_its_own: str | None = None
    """Tracebacks that it makes with upstream's uvicorn too, as a regular expression."""
    to_the_group: bool = False
    """Send SIGTERM to the whole group, as systemd does: the command starts uvicorn and passes no signal on to it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    started: str | None = None
    """What it prints when its own start is over, if it serves before that."""


BY_SIGNAL = {"SIGINT": (0,), "SIGTERM": (-15,)}
"""A single process dies by SIGTERM, as it does without a server."""
INTERRUPTED = "KeyboardInterrupt|CancelledError"
"""It does not catch the KeyboardInterrupt that comes out of `Server.run` after Ctrl-C."""
ANSWERS_TWICE = f"{INTERRUPTED}|Expected ASGI message 'http.response.body', but got 'http.response.start'"
"""The SSE endpoint of mcp sends a second response when its stream has ended."""
PYTHON_PROGRAM = {"SIGINT": (0, 130, -2), "SIGTERM": (0, -15, 143)}
"""Programs with a main of their own may let the signal end them."""

FASTAPI = """\
from fastapi import FastAPI, WebSocket
app = FastAPI()
@app.get("/")
def root():
    return {"hello": "world"}
@app.websocket("/ws")
async def ws(socket: WebSocket):
    await socket.accept()
    await socket.send_text("echo " + await socket.receive_text())
    await socket.close()
"""

DJANGO = """\
import os
from django.conf import settings
settings.configure(SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], INSTALLED_APPS=["channels"], DEBUG=True)
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path
django_application = get_asgi_application()
urlpatterns = [path("", lambda request: HttpResponse("hello world"))]
from channels.generic.websocket import WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
class Echo(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data="echo " + text_data)
application = ProtocolTypeRouter(
    {"http": django_application, "websocket": URLRouter([path("ws", Echo.as_asgi())])}
)
"""

LITESTAR = """\
from litestar import Litestar, get, websocket_listener
@get("/")
async def root() -> str:
    return "hello world"
@websocket_listener("/ws")
async def ws(data: str) -> str:
    return "echo " + data
app = Litestar([root, ws])
"""

GRADIO = """\
import sys
import gradio as gr
demo = gr.Interface(fn=lambda name: "hello " + name, inputs="text", outputs="text", api_name="greet")
demo.launch(server_port=int(sys.argv[1]))
"""

NICEGUI = """\
import sys
from nicegui import ui
ui.label("hello world")
ui.run(port=int(sys.argv[1]), show=False, reload={reload})
"""

SHINY = """\
from shiny import App, ui
app = App(ui.page_fluid("hello world"), None)
"""

FASTMCP = """\
import sys
from fastmcp import FastMCP
mcp = FastMCP("hello")
@mcp.tool
def greet(name: str) -> str:
    return "hello " + name
if __name__ == "__main__":
    mcp.run(transport="sse", host="127.0.0.1", port=int(sys.argv[1]))
"""

MCP = """\
import sys
from mcp.server.fastmcp import FastMCP
mcp = FastMCP("hello", host="127.0.0.1", port=int(sys.argv[1]))
@mcp.tool()
def greet(name: str) -> str:
    return "hello " + name
if __name__ == "__main__":
    mcp.run(transport="sse")
"""

STREAMLIT = """\
import streamlit as st
st.write("hello world")
"""

SSE = """\
import asyncio
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
async def numbers():
    number = 0
    while True:
        yield {"data": number}
        number += 1
        await asyncio.sleep(0.1)
async def events(request):
    return EventSourceResponse(numbers())
async def root(request):
    return PlainTextResponse("hello world")
app = Starlette(routes=[Route("/", root), Route("/events", events)])
"""

SOCKETIO = """\
import socketio
sio = socketio.AsyncServer(async_mode="asgi")
async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello world"})
app = socketio.ASGIApp(sio, hello)
"""

CASES = [
    Case(
        "fastapi dev",
        ["fastapi[standard]"],
        {"main.py": FASTAPI},
        lambda port: ["fastapi", "dev", "main.py", "--port", str(port)],
        [gets("/", "world"), talks_websocket("/ws")],
    ),
    Case(
        "fastapi run --workers 2",
        ["fastapi[standard]"],
        {"main.py": FASTAPI},
        lambda port: ["fastapi", "run", "main.py", "--workers", "2", "--port", str(port)],
        [gets("/", "world"), talks_websocket("/ws")],
    ),
    Case(
        "django + channels",
        ["django", "channels", "websockets"],
        {"site_.py": DJANGO},
        lambda port: ["uvicorn", "site_:application", "--port", str(port)],
        [gets("/", "hello world"), talks_websocket("/ws")],
        BY_SIGNAL,
    ),
    Case(
        "litestar run",
        ["litestar[standard]", "websockets"],
        {"app.py": LITESTAR},
        lambda port: ["litestar", "--app", "app:app", "run", "--port", str(port)],
        [gets("/", "hello world"), talks_websocket("/ws")],
        PYTHON_PROGRAM,
    ),
    Case(
        "litestar run --reload",
        ["litestar[standard]", "websockets"],
        {"app.py": LITESTAR},
        lambda port: ["litestar", "--app", "app:app", "run", "--reload", "--port", str(port)],
        [gets("/", "hello world"), talks_websocket("/ws")],
        {"SIGINT": (0, 1), "SIGTERM": (-15,)},  # 1: "Aborted!", by click
        to_the_group=True,
    ),
    Case(
        "gradio",
        ["gradio"],
        {"demo.py": GRADIO},
        lambda port: ["python", "demo.py", str(port)],
        [
            gets("/", "gradio"),
            gets("/config", "greet"),
            answers_by_events("/gradio_api/call/greet", '{"data": ["world"]}', "hello world"),
        ],
        # Behind the answer it computes statistics in a daemon thread; the interpreter's end would kill that inside
        # native code (SIGABRT), did the server not leave it a moment.
        PYTHON_PROGRAM,
        environment={"GRADIO_ANALYTICS_ENABLED": "0"},
        started="To create a public link",
    ),
    Case(
        "nicegui",
        ["nicegui"],
        {"main.py": NICEGUI.format(reload=False)},
        lambda port: ["python", "main.py", str(port)],
        [
            gets("/", "hello world"),
            polls_socketio("/_nicegui_ws/socket.io/"),
            greets_by_websocket("/_nicegui_ws/socket.io/?EIO=4&transport=websocket", '"sid"'),
        ],
        PYTHON_PROGRAM,
        errors_of_its_own=INTERRUPTED,
    ),
    Case(
        "nicegui with reload",
        ["nicegui"],
        {"main.py": NICEGUI.format(reload=True).replace("ui.label", "if True:\n    ui.label")},
        lambda port: ["python", "main.py", str(port)],
        [
            gets("/", "hello world"),
            polls_socketio("/_nicegui_ws/socket.io/"),
            greets_by_websocket("/_nicegui_ws/socket.io/?EIO=4&transport=websocket", '"sid"'),
        ],
        PYTHON_PROGRAM,
    ),
    Case(
        "shiny run --reload",
        ["shiny"],
        {"app.py": SHINY},
        lambda port: ["shiny", "run", "--reload", "--port", str(port), "app.py"],
        [gets("/", "hello world")],
        PYTHON_PROGRAM,
    ),
    Case(
        "fastmcp, SSE",
        ["fastmcp"],
        {"server.py": FASTMCP},
        lambda port: ["python", "server.py", str(port)],
        [serves_events("/sse", "event: endpoint")],
        PYTHON_PROGRAM,
        open_stream="/sse",
        errors_of_its_own=ANSWERS_TWICE,
    ),
    Case(
        "mcp 1, SSE",
        ["mcp<2"],
        {"server.py": MCP},
        lambda port: ["python", "server.py", str(port)],
        [serves_events("/sse", "event: endpoint")],
        PYTHON_PROGRAM,
        open_stream="/sse",
        errors_of_its_own=ANSWERS_TWICE,
    ),
    Case(
        "streamlit",
        ["streamlit"],
        {"app.py": STREAMLIT},
        lambda port: [
            *("streamlit", "run", "app.py", "--server.port", str(port), "--server.headless", "true"),
            *("--browser.gatherUsageStats", "false"),
        ],
        [gets("/_stcore/health", "ok"), gets("/", "Streamlit"), accepts_websocket("/_stcore/stream")],
        PYTHON_PROGRAM,
    ),
    Case(
        "sse-starlette",
        ["sse-starlette", "starlette"],
        {"app.py": SSE},
        lambda port: ["uvicorn", "app:app", "--port", str(port)],
        [gets("/", "hello world"), serves_events("/events", "data: 3")],
        BY_SIGNAL,
        open_stream="/events",
    ),
    Case(
        "python-socketio",
        ["python-socketio", "websockets"],
        {"app.py": SOCKETIO},
        lambda port: ["uvicorn", "app:app", "--port", str(port)],
        [
            gets("/", "hello world"),
            polls_socketio("/socket.io/"),
            greets_by_websocket("/socket.io/?EIO=4&transport=websocket", '"sid"'),
        ],
        BY_SIGNAL,
    ),
    Case(
        "gunicorn -k uvicorn_worker",
        ["gunicorn", "uvicorn-worker", "fastapi", "websockets"],
        {"main.py": FASTAPI},
        lambda port: [
            *("gunicorn", "main:app", "-k", "uvicorn_worker.UvicornWorker", "-w", "2", "-b", f"127.0.0.1:{port}"),
            *("--graceful-timeout", "5", "--no-control-socket"),
        ],
        [gets("/", "world"), talks_websocket("/ws")],
    ),
]
