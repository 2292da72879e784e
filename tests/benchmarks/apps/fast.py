"""A route as many applications have it: a path parameter, a query parameter, a model as the answer."""

from fastapi import FastAPI
from pydantic import BaseModel


class Item(BaseModel):
    number: int
    name: str
    tags: list[str]


app = FastAPI()


@app.get("/items/{number}")
async def item(number: int, name: str = "none") -> Item:
    return Item(number=number, name=name, tags=["a", "b"])
