"""The small applications that the packages serve, as text of the files that they are."""

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

MARIMO = """\
import marimo
app = marimo.App()
@app.cell
def _():
    "hello world"
    return
"""

BENTOML = """\
import bentoml
@bentoml.service
class Hello:
    @bentoml.api
    def greet(self, name: str) -> str:
        return "hello " + name
"""

SOLARA = """\
import solara
@solara.component
def Page():
    solara.Text("hello world")
"""

DASH = """\
import sys
from dash import Dash, html
app = Dash(__name__, backend="fastapi")
app.layout = html.Div("hello world")
if __name__ == "__main__":
    app.run(port=int(sys.argv[1]))
"""

CHAINLIT = """\
import chainlit
@chainlit.on_message
async def main(message):
    await chainlit.Message(content="hello world").send()
"""

FLET = """\
import flet
def main(page):
    page.add(flet.Text("hello world"))
app = flet.run(main, export_asgi_app=True)
"""

CONNEXION = """\
import sys
import connexion
app = connexion.AsyncApp(__name__)
operation = {"operationId": "hello.root", "responses": {"200": {"description": "a greeting"}}}
app.add_api({"openapi": "3.0.0", "info": {"title": "hello", "version": "1"}, "paths": {"/": {"get": operation}}})
async def root():
    return "hello world"
if __name__ == "__main__":
    app.run("hello:app", port=int(sys.argv[1]))
"""

FASTHTML = """\
import sys
from fasthtml.common import *
app, rt = fast_app()
@rt
def index():
    return Titled("hello world")
serve(port=int(sys.argv[1]))
"""

LITELLM = """\
model_list:
  - model_name: hello
    litellm_params: {model: openai/hello, api_key: x, mock_response: "hello world"}
"""

INSTRUMENTED = """\
import sentry_sdk
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from prometheus_fastapi_instrumentator import Instrumentator
spans = []
class Kept(SpanExporter):
    def export(self, ended):
        spans.extend(span.name for span in ended)
        return SpanExportResult.SUCCESS
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(Kept()))
sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", before_send=lambda event, hint: None)
app = FastAPI()
Instrumentator().instrument(app).expose(app)
FastAPIInstrumentor.instrument_app(app)
@app.get("/")
def root():
    return {"hello": "world"}
@app.get("/spans")
def ended():
    return sorted(set(spans))
"""
