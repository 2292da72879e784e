import os
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.routing import Mount, Route


@asynccontextmanager
async def lifespan(app):
    yield {"started": True}


async def who(request):
    assert request.state.started
    return JSONResponse({"pid": os.getpid(), "scheme": request.url.scheme, "client": bool(request.client)})


async def echo(request):
    # Not StreamingResponse(request.stream()): under ASGI 2.3 Starlette listens for the disconnect meanwhile, and
    # whoever calls receive() first gets the next piece of the body.
    pieces = [piece async for piece in request.stream()]
    return StreamingResponse(iter(pieces), media_type="application/octet-stream")


async def stream(request):
    return StreamingResponse((f"{number}\n" for number in range(5)), media_type="text/plain")


async def source(request):
    return FileResponse(__file__)


async def failing(request):
    raise RuntimeError("asked for")


app = Starlette(
    routes=[
        Route("/who", who),
        Route("/echo", echo, methods=["POST"]),
        Route("/stream", stream),
        Route("/source", source),
        Route("/raise", failing),
        Mount("/below", routes=[Route("/who", who, name="below")]),
    ],
    middleware=[
        Middleware(TrustedHostMiddleware, allowed_hosts=["localhost"]),
        Middleware(GZipMiddleware, minimum_size=100_000_000),
    ],
    lifespan=lifespan,
)
