"""What is asked of both: octets, frames and command lines, by the name of the observation."""

from __future__ import annotations

from .observing import Command, Request, WebSocket
from .wire import closing, frame, handshake, text


def get(path: str = "/", *headers: str, method: str = "GET", version: str = "1.1", data: str = "") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: a", *headers, "", data]).encode("latin-1")


def post(path: str, data: str, *headers: str) -> bytes:
    return get(path, f"Content-Length: {len(data)}", *headers, method="POST", data=data)


APP_SENDS = """
bodyfirst twostarts afterend toolong tooshort nothing unfinished returns badname badvalue badstatus unknownstatus
created nocontent notmodified strbody chunks both close upper own twice noheaders lists raises raiseslater raisesafter
exits cancels early_hint
"""

HTTP = {
    # 4.1 the scope
    "scope/plain": Request(get("/scope?a=1&b=%20", "X-Name: v", "x-name:  w ", "Accept: \xe9")),
    "scope/types": Request(get("/types")),
    "scope/escaped": Request(get("/x%2f%C3%A9%ff/../y?%ff")),
    "scope/double-slash": Request(get("//scope")),
    "scope/fragment": Request(get("/scope?a#b")),
    "scope/1.0": Request(get("/scope", version="1.0")),
    "scope/absolute": Request(get("http://a/scope?x=1")),
    "scope/options": Request(get("*", method="OPTIONS")),
    "scope/head": Request(get("/scope", method="HEAD"), head_only=True),
    "scope/forwarded": Request(get("/scope", "X-Forwarded-For: 1.1.1.1, 2.2.2.2", "X-Forwarded-Proto: https")),
    # 4.2 receive
    "receive/none": Request(get("/echo")),
    "receive/body": Request(post("/echo", "some body")),
    "receive/chunked": Request(
        get("/echo", "Transfer-Encoding: chunked", method="POST", data="3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
    ),
    "receive/trailers": Request(
        get("/echo", "Transfer-Encoding: chunked", method="POST", data="1\r\na\r\n0\r\nX-Late: 1\r\n\r\n")
    ),
    "receive/after": Request(get("/after"), heard=True),
    "receive/expect": Request(
        get("/echo", "Expect: 100-continue", "Content-Length: 3", method="POST"), responses=2, then=b"abc"
    ),
    "receive/expect-unread": Request(get("/early", "Expect: 100-continue", "Content-Length: 3", method="POST")),
    "receive/unread": Request(post("/early", "abc")),
    # 4.3 and 4.4 send and framing
    **{f"send/{name}": Request(get(f"/{name}")) for name in APP_SENDS.split()},
    **{
        f"send/head/{name}": Request(get(f"/{name}", method="HEAD"), head_only=True)
        for name in ["chunks", "created", "toolong", "noheaders", "tooshort"]
    },
    **{
        f"send/1.0/{name}": Request(get(f"/{name}", version="1.0"))
        for name in ["chunks", "created", "noheaders", "nocontent"]
    },
    # 4.5 keep-alive and pipelining
    "connection/keep": Request(get("/")),
    "connection/close": Request(get("/", "Connection: close")),
    "connection/close-case": Request(get("/", "Connection: Keep-Alive, CLOSE")),
    "connection/1.0": Request(get("/created", version="1.0")),
    "connection/1.0-keep": Request(get("/created", "Connection: keep-alive", version="1.0")),
    "connection/pipelined": Request(get("/") + get("/created") + get("/chunks"), responses=3),
    "connection/pipelined-close": Request(get("/", "Connection: close") + get("/created")),
    "connection/blank-lines-first": Request(b"\r\n\r\n" + get("/")),
    # 4.6 invalid requests
    "invalid/garbage": Request(b"garbage\r\n\r\n"),
    "invalid/no-host": Request(b"GET / HTTP/1.1\r\n\r\n"),
    "invalid/two-hosts": Request(get("/", "Host: b")),
    "invalid/bare-lf": Request(b"GET / HTTP/1.1\nHost: a\n\n"),
    "invalid/lower-case-method": Request(get("/", method="get")),
    "invalid/unknown-method": Request(get("/", method="FROBNICATE")),
    "invalid/http-1.9": Request(get("/", version="1.9")),
    "invalid/http-2.0": Request(get("/", version="2.0")),
    "invalid/preface": Request(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "invalid/obs-fold": Request(get("/", "X-A: 1\r\n 2")),
    "invalid/length-and-coding": Request(
        get("/echo", "Content-Length: 3", "Transfer-Encoding: chunked", method="POST", data="0\r\n\r\n")
    ),
    "invalid/coding": Request(get("/echo", "Transfer-Encoding: gzip", method="POST")),
    "invalid/equal-lengths": Request(get("/echo", "Content-Length: 1", "Content-Length: 1", method="POST", data="x")),
    "invalid/two-lengths": Request(get("/echo", "Content-Length: 1", "Content-Length: 2", method="POST", data="xy")),
    "invalid/signed-length": Request(get("/echo", "Content-Length: +1", method="POST", data="x")),
    "invalid/nul": Request(get("/", "X-A: a\x00b")),
    "invalid/space-before-colon": Request(get("/", "X-A : 1")),
    "invalid/chunk": Request(get("/echo", "Transfer-Encoding: chunked", method="POST", data="zz\r\n")),
    "invalid/path-octets": Request(get("/\xc3\xa9")),
    "invalid/query-octets": Request(get("/?\xc3\xa9")),
    "invalid/behind-a-good-one": Request(get("/") + b"garbage\r\n\r\n", responses=2),
    # 4.7 upgrade
    "upgrade/other": Request(get("/", "Connection: upgrade", "Upgrade: h2c")),
    "upgrade/no-key": Request(handshake("/echo", leave_out=("Sec-WebSocket-Key",))),
    "upgrade/version": Request(handshake("/echo", "Sec-WebSocket-Version: 8", leave_out=("Sec-WebSocket-Version",))),
    "upgrade/post": Request(handshake("/echo", method="POST")),
}

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
BYE = closing(1000, "bye")

WEBSOCKET = {
    "scope/plain": WebSocket(handshake("/scope?a=1", "X-Name: v", "Sec-WebSocket-Protocol: one, two")),
    "echo/text": WebSocket(handshake("/echo"), (text("hello"), BYE)),
    "echo/binary": WebSocket(handshake("/echo"), (frame(2, b"\x00\xff"), BYE)),
    "echo/empty": WebSocket(handshake("/echo"), (text(""), BYE)),
    "echo/fragments": WebSocket(handshake("/echo"), (text("he", fin=False), frame(0, b"llo"), BYE)),
    "echo/ping": WebSocket(handshake("/echo"), (frame(9, b"p"), BYE)),
    "echo/subprotocol": WebSocket(handshake("/echo", "Sec-WebSocket-Protocol: one, two"), (BYE,)),
    "echo/early": WebSocket(handshake("/echo") + text("early"), (BYE,)),
    "close/without-code": WebSocket(handshake("/listen"), (closing(),)),
    "close/reason": WebSocket(handshake("/listen"), (closing(3001, "why"),)),
    "close/lost": WebSocket(handshake("/echo"), (text("x"),), hang_up=True),
    "close/by-the-app": WebSocket(handshake("/close")),
    "error/utf-8": WebSocket(handshake("/listen"), (frame(1, b"\xff\xfe"),)),
    "error/unmasked": WebSocket(handshake("/listen"), (text("x", masked=False),)),
    "error/reserved-bit": WebSocket(handshake("/listen"), (text("x", rsv=1),)),
    "error/opcode": WebSocket(handshake("/listen"), (frame(5, b"x"),)),
    "error/code": WebSocket(handshake("/listen"), (closing(999),)),
    "error/size": WebSocket(handshake("/listen"), (text("x" * 300),)),
    "send/own-headers": WebSocket(handshake("/own"), heard=False),
    "send/both": WebSocket(handshake("/both"), heard=False),
    "send/after": WebSocket(handshake("/sendsafter"), (BYE,)),
    "send/close-then-send": WebSocket(handshake("/sendsclosed"), heard=False),
    "send/unknown": WebSocket(handshake("/unknown"), heard=False),
    "send/first": WebSocket(handshake("/sendfirst"), heard=False),
    "send/accept-twice": WebSocket(handshake("/acceptstwice"), heard=False),
    "deny/close": WebSocket(handshake("/reject")),
    "deny/response": WebSocket(handshake("/deny"), heard=False),
    "deny/bad-status": WebSocket(handshake("/badstatus"), heard=False),
    "end/returns": WebSocket(handshake("/returns"), heard=False),
    "end/raises": WebSocket(handshake("/raises"), heard=False),
    "end/raises-before": WebSocket(handshake("/raisesbefore"), heard=False),
    "end/returns-before": WebSocket(handshake("/returnsbefore"), heard=False),
}

APP = """\
async def app(scope, receive, send):
    assert scope["type"] == "http"
class Space:
    inner = object()
ns = Space()
def make(): return app
def needs(argument): return app
def raises(): raise LookupError("in the factory")
"""
LIFESPAN = """\
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
"""
SAYS_UP = LIFESPAN.replace("        while", "        print('up', flush=True)\n        while")
FAILS = LIFESPAN.replace('"lifespan.startup.complete"', '"lifespan.startup.failed", "message": "no database"')


def fails(*arguments: str, app: str = APP, **environment: str) -> Command:
    return Command((*arguments, "--port", "PORT"), {"apps.py": app}, environment)


def stops(*arguments: str, by: str, app: str = LIFESPAN, serving: str = "Uvicorn running on") -> Command:
    several = bool({"--workers", "--reload"} & {*arguments})
    return Command((*arguments, "--port", "PORT"), {"apps.py": app}, {}, serving, (by,), several)


def reloads(target: str, *, says: str, app: str = APP) -> Command:
    """The reloader stays, and is stopped, as soon as the child has said this."""
    arguments = (target, "--reload", "--port", "PORT")
    return Command(arguments, {"apps.py": app}, {}, says, ("SIGINT",), only=f"ERROR:    {says}")


COMMANDS = {
    # 1.2 errors and exit codes
    "error/no-app": Command(()),
    "error/unknown-option": fails("apps:app", "--zzzqqq"),
    "error/extra-argument": fails("apps:app", "more"),
    "error/port": Command(("apps:app", "--port=x")),
    "error/choice": fails("apps:app", "--lifespan", "x"),
    "error/env-file": fails("apps:app", "--env-file", "nope"),
    "error/log-config": fails("apps:app", "--log-config", "nope"),
    "error/no-attribute": fails("apps"),
    "error/empty-attribute": fails("apps:"),
    "error/no-module": fails("nope_mod:app"),
    "error/no-such-attribute": fails("apps:ns.inner.nope"),
    "error/import": fails("apps:app", app="import nope_mod"),
    "error/syntax": fails("apps:app", app="def app(:"),
    "error/raises": fails("apps:app", app="raise ValueError('at import')"),
    "error/factory-arguments": fails("apps:needs", "--factory"),
    "error/factory-raises": fails("apps:raises", "--factory"),
    "error/no-factory": fails("apps:app", "--factory"),
    "error/startup": fails("apps:app", app=FAILS),
    "error/uds-directory": Command(("apps:app", "--uds", "/no/such/s"), {"apps.py": APP}),
    "error/fd": Command(("apps:app", "--fd", "99"), {"apps.py": APP}),
    "error/fd-no-socket": Command(("apps:app", "--fd", "0"), {"apps.py": APP}),
    "error/host": fails("apps:app", "--host", "no-such.invalid"),
    "error/key-without-certificate": fails("apps:app", "--ssl-keyfile", "nope"),
    "error/certificate": fails("apps:app", "--ssl-certfile", "nope"),
    "error/http": fails("apps:app", "--http", "x"),
    "error/ws": fails("apps:app", "--ws", "x"),
    "error/loop": fails("apps:app", "--loop", "nope:x"),
    "error/header": fails("apps:app", "--header", "foo"),
    "error/web-concurrency": fails("apps:app", WEB_CONCURRENCY="x"),
    "error/workers/no-attribute": Command(("apps", "--workers", "2", "--port", "PORT"), {"apps.py": APP}, only="ERROR"),
    "error/workers/startup": Command(
        ("apps:app", "--workers", "2", "--port", "PORT"), {"apps.py": FAILS}, only="ERROR"
    ),
    "version": Command(("--version",)),
    # 3 lines, and how signals end it
    "stop/SIGINT": stops("apps:app", by="SIGINT"),
    "stop/SIGTERM": stops("apps:app", by="SIGTERM"),
    "stop/lifespan-off": stops("apps:app", "--lifespan", "off", by="SIGINT"),
    "stop/lifespan-unsupported": stops("apps:app", app=APP, by="SIGINT"),
    "stop/factory-without-flag": stops("apps:make", app=APP, by="SIGINT"),
    "stop/ipv6-any": stops("apps:app", "--host", "0.0.0.0", by="SIGINT"),
    "stop/uds": Command(("apps:app", "--uds", "s"), {"apps.py": LIFESPAN}, {}, "Uvicorn running on", ("SIGINT",)),
    "stop/trace": stops("apps:app", "--log-level", "trace", by="SIGINT"),
    "stop/warning": stops("apps:app", "--log-level", "warning", by="SIGINT", app=SAYS_UP, serving="^up$"),
    "stop/workers/SIGINT": stops(
        "apps:app", "--workers", "2", by="SIGINT", serving=r"(?s)startup complete.*startup complete"
    ),
    "stop/workers/SIGTERM": stops(
        "apps:app", "--workers", "2", by="SIGTERM", serving=r"(?s)startup complete.*startup complete"
    ),
    "stop/reload/SIGINT": stops("apps:app", "--reload", by="SIGINT", serving="startup complete"),
    "stop/reload/SIGTERM": stops("apps:app", "--reload", by="SIGTERM", serving="startup complete"),
    # Two signals at once: which line comes first is no matter.
    "signal/SIGHUP": Command(
        ("apps:app", "--port", "PORT"),
        {"apps.py": LIFESPAN},
        {},
        "Uvicorn running on",
        ("SIGHUP", "SIGINT"),
        several=True,
    ),
    "signal/SIGQUIT": stops("apps:app", by="SIGQUIT"),
    "signal/SIGUSR1": stops("apps:app", by="SIGUSR1"),
    "signal/SIGUSR2": stops("apps:app", by="SIGUSR2"),
    "error/reload/no-module": reloads("nope_mod:app", says="Error loading"),
    "error/reload/no-attribute": reloads("apps:nope", says="Error loading"),
    "error/reload/startup": reloads("apps:app", says="Application startup failed", app=FAILS),
    "reload-options-without-reload": stops("apps:app", "--reload-include", "*.x", by="SIGINT"),
}
