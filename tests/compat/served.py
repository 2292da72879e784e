"""The application behind the observations: what it does is chosen by the path. It runs under any ASGI server."""

import asyncio
import json
import logging

heard = []
"""Messages that a WebSocket, or a request below /heard, was given."""
done = asyncio.Event()


def plain(value):
    """Return what JSON can hold of a scope or a message."""
    if isinstance(value, (bytes, bytearray)):
        return "b:" + bytes(value).decode("latin-1")
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


async def answer(send, body=b"ok", status=200, headers=(), **more):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body, **more})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        scope["state"]["from"] = "lifespan"
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"].removeprefix(scope["root_path"])
    if path == "/mark":
        logging.getLogger("uvicorn.error").info("MARK %s", scope["query_string"].decode())
        await answer(send)
    elif path == "/heard":
        await asyncio.wait_for(done.wait(), 30)
        await answer(send, json.dumps(heard).encode())
        heard.clear()
        done.clear()
    else:
        act = globals().get(scope["type"] + "_" + (path.strip("/") or "root"), http_scope)
        try:
            result = await act(scope, receive, send)
        finally:
            done.set()
        return result


async def http_root(scope, receive, send):
    await answer(send)


async def http_scope(scope, receive, send):
    await answer(send, json.dumps(plain(dict(scope)), sort_keys=True).encode())


async def http_types(scope, receive, send):
    kinds = {name: type(value).__name__ for name, value in scope.items()}
    kinds["header"] = type(scope["headers"][0]).__name__
    await answer(send, json.dumps(kinds, sort_keys=True).encode())


async def http_echo(scope, receive, send):
    body, more, types = b"", True, set()
    while more:
        message = await receive()
        types.add(message["type"] + " " + " ".join(sorted(message)))
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await answer(send, body + b"|" + "|".join(sorted(types)).encode())


async def http_after(scope, receive, send):
    """Receive once more after the answer is complete."""
    await receive()
    await answer(send, b"done", headers=[(b"content-length", b"4")])
    heard.append(plain(await receive()))
    heard.append(plain(await receive()))


async def http_early(scope, receive, send):
    await answer(send, b"early", headers=[(b"content-length", b"5")])


def sends(*messages, returns=None):
    async def act(scope, receive, send):
        for message in messages:
            await send(message)
        return returns

    return act


def starts(*headers, status=200):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data=b"", more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


def fails(error, *messages):
    async def act(scope, receive, send):
        for message in messages:
            await send(message)
        raise error

    return act


http_bodyfirst = sends(body(b"x"))
http_twostarts = sends(starts(), starts(), body(b"x"))
http_afterend = sends(starts((b"content-length", b"1")), body(b"x"), body(b"y"))
http_toolong = sends(starts((b"content-length", b"1")), body(b"xyz"))
http_tooshort = sends(starts((b"content-length", b"3")), body(b"x"))
http_nothing = sends()
http_unfinished = sends(starts((b"content-length", b"3")), body(b"x", more=True))
http_returns = sends(starts((b"content-length", b"1")), body(b"x"), returns=5)
http_badname = sends(starts((b"a b", b"1")), body(b"x"))
http_badvalue = sends(starts((b"a", b"1\r\nb: 2")), body(b"x"))
http_badstatus = sends(starts(status=799), body(b"x"))
http_unknownstatus = sends(starts((b"content-length", b"1"), status=599), body(b"x"))
http_created = sends(starts((b"content-length", b"1"), status=201), body(b"x"))
http_nocontent = sends(starts(status=204), body())
http_notmodified = sends(starts((b"content-length", b"10"), status=304), body())
http_strbody = sends(starts(), {"type": "http.response.body", "body": "text"})
http_chunks = sends(starts(), body(b"ab", more=True), body(more=True), body(b"cde", more=True), body())
http_both = sends(starts((b"content-length", b"1"), (b"transfer-encoding", b"chunked")), body(b"x"))
http_close = sends(starts((b"content-length", b"1"), (b"connection", b"close")), body(b"x"))
http_upper = sends(starts((b"Content-Length", b"1"), (b"X-Some", b"V")), body(b"x"))
http_own = sends(starts((b"content-length", b"1"), (b"server", b"mine"), (b"date", b"never")), body(b"x"))
http_twice = sends(starts((b"content-length", b"1"), (b"set-cookie", b"a"), (b"set-cookie", b"b")), body(b"x"))
http_noheaders = sends({"type": "http.response.start", "status": 200}, {"type": "http.response.body"})
http_lists = sends(
    {"type": "http.response.start", "status": 200, "headers": [[b"content-length", b"1"]]}, body(bytearray(b"x"))
)
http_raises = fails(ValueError("before the answer"))
http_raiseslater = fails(ValueError("inside the answer"), starts((b"content-length", b"3")), body(b"x", more=True))
http_raisesafter = fails(ValueError("after the answer"), starts((b"content-length", b"1")), body(b"x"))
http_exits = fails(SystemExit(4))
http_cancels = fails(asyncio.CancelledError())
http_early_hint = sends({"type": "http.response.early_hint", "links": [b"</a>"]})


# -- WebSocket ---------------------------------------------------------------------------------------------------------


async def listen(receive):
    while True:
        message = plain(await receive())
        if message["type"] == "websocket.disconnect":
            heard.append(message)
            return
        heard.append(message)


async def websocket_listen(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await listen(receive)


async def websocket_scope(scope, receive, send):
    heard.append(plain(await receive()))
    await send({"type": "websocket.accept", "headers": [(b"X-Own", b"1")], "subprotocol": None})
    await send({"type": "websocket.send", "text": json.dumps(plain(dict(scope)), sort_keys=True)})
    await send({"type": "websocket.close"})
    await listen(receive)


async def websocket_echo(scope, receive, send):
    await receive()
    chosen = scope["subprotocols"][0] if scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": chosen})
    while (message := await receive())["type"] == "websocket.receive":
        heard.append(plain(message))
        await send({"type": "websocket.send", **{name: message[name] for name in ("text", "bytes") if name in message}})
    heard.append(plain(message))


async def websocket_own(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept", "headers": [(b"server", b"mine"), (b"x-a", b"1"), (b"x-a", b"2")]})
    await send({"type": "websocket.close"})


async def websocket_reject(scope, receive, send):
    await receive()
    await send({"type": "websocket.close", "code": 4000, "reason": "no"})
    heard.append(plain(await receive()))


async def websocket_deny(scope, receive, send):
    await receive()
    headers = [(b"x-why", b"not you")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"go ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"away"})


async def websocket_close(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
    heard.append(plain(await receive()))


async def websocket_both(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "text", "bytes": b"bytes"})
    await send({"type": "websocket.send", "text": None, "bytes": b"only bytes"})
    await send({"type": "websocket.send", "text": "only text", "bytes": None})
    await send({"type": "websocket.close"})


async def websocket_sendsafter(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await listen(receive)
    try:
        await send({"type": "websocket.send", "text": "late"})
    except Exception as error:
        heard.append(f"{type(error).__name__} {isinstance(error, OSError)}")


def websocket_sends(*messages, error=None):
    async def act(scope, receive, send):
        await receive()
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    return act


ACCEPT = {"type": "websocket.accept"}
websocket_returns = websocket_sends(ACCEPT)
websocket_raises = websocket_sends(ACCEPT, error=ValueError("after the accept"))
websocket_raisesbefore = websocket_sends(error=ValueError("before the accept"))
websocket_returnsbefore = websocket_sends()
websocket_sendfirst = websocket_sends({"type": "websocket.send", "text": "x"})
websocket_acceptstwice = websocket_sends(ACCEPT, ACCEPT)
websocket_sendsclosed = websocket_sends(ACCEPT, {"type": "websocket.close"}, {"type": "websocket.send", "text": "x"})
websocket_unknown = websocket_sends(ACCEPT, {"type": "websocket.unknown"})
websocket_badstatus = websocket_sends({"type": "websocket.http.response.start", "status": 700, "headers": []})
