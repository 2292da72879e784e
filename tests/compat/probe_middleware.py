"""Middleware and what protocols share: seen from inside."""

from probing import finish, module, observe, plain

# -- 5 middleware ------------------------------------------------------------------------------------------------------

PROXIES = {
    "trusted": ("127.0.0.1", ["1.1.1.1"], ["https"]),
    "untrusted peer": ("10.0.0.1", ["1.1.1.1"], ["https"]),
    "all": ("*", ["1.1.1.1, 2.2.2.2"], ["https"]),
    "chain": ("127.0.0.1,2.2.2.2", ["1.1.1.1, 2.2.2.2"], []),
    "chain untrusted": ("127.0.0.1", ["1.1.1.1, 2.2.2.2"], []),
    "network": ("127.0.0.0/8", ["1.1.1.1, 127.5.5.5"], []),
    "list": (["127.0.0.1"], ["1.1.1.1"], []),
    "two lines": ("127.0.0.1", ["1.1.1.1", "2.2.2.2"], []),
    "port": ("127.0.0.1", ["1.2.3.4:5555"], []),
    "v6": ("127.0.0.1", ["[2001:db8::1]:99"], []),
    "bare v6": ("127.0.0.1", ["2001:db8::1"], []),
    "junk": ("127.0.0.1", ["junk"], []),
    "trailing comma": ("127.0.0.1", ["1.1.1.1,"], []),
    "empty": ("127.0.0.1", [""], [""]),
    "upper proto": ("127.0.0.1", [], ["HTTPS"]),
    "two protos": ("127.0.0.1", [], ["https, http"]),
    "proto lines": ("127.0.0.1", [], ["http", "https"]),
    "wss": ("127.0.0.1", [], ["wss"]),
    "literal": ("unix:", ["1.1.1.1"], []),
}
for name, (trusted, forwarded_for, proto) in PROXIES.items():
    for peer in (["127.0.0.1", 9], None):
        for kind in ("http", "websocket"):

            @observe(f"proxy/{name}/{kind}" + ("" if peer else "/no client"))
            async def _(trusted=trusted, forwarded_for=forwarded_for, proto=proto, peer=peer, kind=kind):
                seen = []

                async def app(scope, receive, send):
                    seen.append([scope["client"], scope["scheme"]])

                headers = [(b"x-forwarded-for", one.encode()) for one in forwarded_for]
                headers += [(b"x-forwarded-proto", one.encode()) for one in proto]
                scope = {"type": kind, "client": peer and tuple(peer), "headers": headers}
                scope["scheme"] = "http" if kind == "http" else "ws"
                middleware = module("uvicorn.middleware.proxy_headers").ProxyHeadersMiddleware
                await middleware(app, trusted_hosts=trusted)(scope, None, None)
                return plain(seen)


@observe("wsgi")
async def _():
    environ, sent = {}, []

    def application(given, start_response):
        environ.update({name: plain(value) for name, value in given.items()})
        start_response("201 Created", [("X-A", "1")])
        return [b"ab", b"c"]

    async def receive():
        return {"type": "http.request", "body": b"xyz", "more_body": False}

    async def send(message):
        sent.append({name: plain(value) if name != "body" else value.decode() for name, value in message.items()})

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/base/p\xe9",
        "raw_path": b"/base/p%C3%A9",
        "root_path": "/base",
        "query_string": b"q=1",
        "headers": [(b"content-length", b"3"), (b"x-b", b"1"), (b"x-b", b"2"), (b"content-type", b"text/x")],
        "client": ("1.2.3.4", 5),
        "server": ("h", 80),
        "scheme": "http",
    }
    await module("uvicorn.middleware.wsgi")._WSGIMiddleware(application)(scope, receive, send)
    return [dict(sorted(environ.items())), sent]


@observe("asgi2")
async def _():
    seen = []

    def application(scope):
        async def instance(receive, send):
            seen.append([scope["type"], await receive()])

        return instance

    async def receive():
        return "message"

    await module("uvicorn.middleware.asgi2").ASGI2Middleware(application)({"type": "http"}, receive, None)
    return seen


@observe("utils")
def _():
    utils = module("uvicorn.protocols.utils")
    scopes = [
        {"path": "/a b/%", "query_string": b"", "client": None},
        {"path": "/é;", "query_string": b"a=%20", "client": ("1.2.3.4", 5)},
    ]
    return [[utils.get_client_addr(scope), utils.get_path_with_query_string(scope)] for scope in scopes]


finish()
