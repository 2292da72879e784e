"""The application behind every test of this folder: it says what it saw, and does what the request tells it to.

Any path answers with the `repr` of the scope, the body and the receive events, so that bytes survive the trip.
These paths do something else; their query string is a Python expression, quoted:

    /play?[steps]     run the steps of `player` below, one after another
    /release?NAME     let every `("wait", NAME)` go on, now and later
    /journal?PORT     the calls that came from this client port, as a `repr` of a list of dicts
    /usage            the resident memory of this process in KiB, its open descriptors and the calls that still run

All of it is served by one process, so the journal of a connection is asked for over another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JOURNAL: dict[object, list[dict[str, Any]]] = defaultdict(list)
EVENTS: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
RUNNING: set[int] = set()


class Oops(Exception):
    """What a step `("raise", "Oops")` raises."""


def plain(scope: MutableMapping[str, Any]) -> dict[str, Any]:
    """The scope as far as `ast.literal_eval` can read it back."""
    return {key: [tuple(pair) for pair in value] if key == "headers" else value for key, value in scope.items()}


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> Any:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return None
    assert scope["type"] == "http"
    match scope["path"].removeprefix(scope["root_path"]):
        case "/journal":
            await answer(send, repr(JOURNAL[int(scope["query_string"])]).encode())
            return None
        case "/usage":
            await answer(send, repr(usage()).encode())
            return None
        case "/release":
            EVENTS[scope["query_string"].decode()].set()
            await answer(send, b"released")
            return None
    call = {"scope": plain(scope), "received": [], "sent": [], "outcome": "running"}
    JOURNAL[scope["client"][1] if scope["client"] else None].append(call)
    RUNNING.add(id(call))
    try:
        if scope["path"].removeprefix(scope["root_path"]) == "/play":
            result = await play(unquote_to_bytes(scope["query_string"]).decode(), call, receive, send)
        else:
            result = await echo(call, receive, send)
    except BaseException as exc:
        call["outcome"] = f"{type(exc).__name__}: {exc}"
        raise
    else:
        call["outcome"] = "returned"
        return result
    finally:
        RUNNING.discard(id(call))


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def answer(send: Send, body: bytes) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}
    )
    await send({"type": "http.response.body", "body": body})


async def echo(call: dict[str, Any], receive: Receive, send: Send) -> None:
    body, types = [], []
    while True:
        message = await receive()
        types.append(message["type"])
        call["received"].append(dict(message))
        body.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    if types[-1] == "http.disconnect":
        return
    await answer(send, repr({"scope": call["scope"], "body": b"".join(body), "types": types}).encode())


async def play(steps: str, call: dict[str, Any], receive: Receive, send: Send) -> Any:
    """Run the steps: tuples of a word and its arguments."""

    async def sends(message: Message) -> None:
        try:
            call["sent"].append(None)
            await send(message)
        except BaseException as exc:
            call["sent"][-1] = f"{type(exc).__name__}: {exc}"
            raise

    for word, *args in eval(steps):
        match word:
            case "send":
                await sends(args[0])
            case "try":  # send, and go on whatever it raises
                with contextlib.suppress(Exception):  # the journal holds it
                    await sends(args[0])
            case "flood":  # a number of pieces of a size
                for _ in range(args[0]):
                    await sends({"type": "http.response.body", "body": b"x" * args[1], "more_body": True})
            case "receive":
                message = await receive()
                call["received"].append(dict(message))
            case "drain":
                while True:
                    message = await receive()
                    call["received"].append(dict(message))
                    if not message.get("more_body", False):
                        break
            case "count":  # read the body, keep its size alone
                size = 0
                while True:
                    message = await receive()
                    size += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        break
                call["received"].append({"type": message["type"], "size": size})
            case "gone":
                while (message := await receive())["type"] != "http.disconnect":
                    call["received"].append(dict(message))
                call["received"].append(dict(message))
            case "mark":
                call["sent"].append(args[0])
            case "sleep":
                await asyncio.sleep(args[0])
            case "wait":
                await EVENTS[args[0]].wait()
            case "raise":
                raise {
                    "Oops": Oops,
                    "SystemExit": SystemExit,
                    "Cancelled": asyncio.CancelledError,
                    "GeneratorExit": GeneratorExit,
                }[args[0]](*args[1:])
            case "return":
                return args[0]
    return None


def usage() -> dict[str, int]:
    with open("/proc/self/statm", encoding="ascii") as statm:
        pages = int(statm.read().split()[1])
    return {
        "rss": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "running": len(RUNNING),
    }
