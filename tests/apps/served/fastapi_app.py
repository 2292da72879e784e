import os
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel


@asynccontextmanager
async def lifespan(app):
    yield {"started": True}


app = FastAPI(lifespan=lifespan)
done: list[str] = []


class Item(BaseModel):
    name: str
    price: float


@app.get("/who")
async def who(request: Request):
    assert request.state.started
    return {"pid": os.getpid(), "scheme": request.url.scheme, "client": bool(request.client)}


@app.get("/threaded/{number}")
def threaded(number: int, q: str = "-"):
    return {"number": number, "q": q}


@app.post("/echo")
async def echo(request: Request):
    pieces = [piece async for piece in request.stream()]
    return StreamingResponse(iter(pieces), media_type="application/octet-stream")


@app.post("/item")
async def item(item: Item, background: BackgroundTasks):
    background.add_task(done.append, item.name)
    return item


@app.get("/stream")
async def stream():
    async def pieces():
        for number in range(5):
            yield f"{number}\n"

    return StreamingResponse(pieces(), media_type="text/plain")


@app.get("/raise")
async def failing():
    raise RuntimeError("asked for")
