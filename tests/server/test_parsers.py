"""httptools against h11: one verdict on every head; and what is remembered of heads never leaks between requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.http.h11_impl import H11Protocol as PublicH11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as PublicHttpToolsProtocol
from uvicorn.server.connection import HTTPConnection
from uvicorn.server.h11_protocol import H11Protocol
from uvicorn.server.head import Head, HeadReader, Limits, Refusal
from uvicorn.server.httptools_protocol import HttpToolsProtocol

from .serving import GET, PARSERS, Served, body, hello, request, run, start

NAMES = [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Expect", b"Trailer", b"TE"]
NAMES += [
    b"X-Forwarded-For",
    b"Cookie",
    b"X",
    b"content-length",
    b"TRANSFER-ENCODING",
    b"Proxy-Connection",
    b"HTTP2-Settings",
]
VALUES = [b"h", b"h:80", b"[::1]", b"5", b"05", b"5, 5", b"+5", b"18446744073709551616", b"chunked", b"gzip, chunked"]
VALUES += [
    b"Chunked",
    b"close",
    b"keep-alive, close",
    b"upgrade",
    b"websocket",
    b"h2c",
    b"100-continue",
    b"a\tb",
    b"\xff",
]

names = st.sampled_from(NAMES) | st.binary(min_size=1, max_size=4)
values = st.sampled_from([b"", *VALUES]) | st.binary(max_size=8)
spaces = st.text(" \t", max_size=3).map(str.encode)
lines = st.builds(
    lambda n, c, a, v, z: n + c + a + v + z, names, st.sampled_from([b":"] * 9 + [b" :", b""]), spaces, values, spaces
)
request_lines = st.builds(
    lambda m, t, v: b"%b %b HTTP/%b" % (m, t, v),
    st.sampled_from([b"GET", b"POST", b"get", b"PRI", b"OPTIONS", b"M-SEARCH", b"CONNECT", b"X!"]),
    st.sampled_from([b"/", b"/a?b", b"*", b"http://x/y", b"h:1", b"/%41", b"/\xc3\xa9"]),
    st.sampled_from([b"1.1", b"1.0", b"1.9", b"2.0"]),
)
ends = st.sampled_from([b"\r\n"] * 20 + [b"\n", b"\r", b"\r\n ", b"\r\r\n"])


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    parts = [draw(request_lines), b"\r\n"]
    if draw(st.integers(0, 9)):
        parts += [b"Host: h", b"\r\n"]
    for line in draw(st.lists(lines, max_size=4)):
        parts += [line, draw(ends)]
    head = b"".join([*parts, b"\r\n"])
    return head[: head.index(b"\r\n\r\n") + 4] if b"\r\n\r\n" in head else head + b"\r\n\r\n"


def verdict(reader: HeadReader, head: bytes) -> Head | int:
    try:
        return reader.read(head)
    except Refusal as refusal:
        return refusal.status


@settings(max_examples=600, deadline=None)
@given(heads())
def test_both_parsers_give_the_same_head_or_the_same_kind_of_refusal(head: bytes) -> None:
    one = HeadReader(HttpToolsProtocol.tokenize, Limits())
    other = HeadReader(H11Protocol.tokenize, Limits())
    first = verdict(one, head)
    assert first == verdict(other, head)
    assert verdict(one, head) == first, "a second look, perhaps at what was remembered, sees the same"
    if isinstance(first, Head) and not first.confidential:
        assert verdict(one, head) is verdict(one, head)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_both_parsers_split_and_refuse_the_same_field_lines(data: bytes) -> None:
    head = b"GET / HTTP/1.0\r\n" + data + b"\r\n\r\n"
    head = head[: head.index(b"\r\n\r\n") + 4]
    found = [
        verdict(HeadReader(tokenize, Limits()), head) for tokenize in (HttpToolsProtocol.tokenize, H11Protocol.tokenize)
    ]
    assert found[0] == found[1]


def test_the_fields_of_every_split_are_bytes_in_a_list_of_its_own() -> None:
    for protocol in (HttpToolsProtocol, H11Protocol):
        fields = [protocol.tokenize(b"Host: h\r\nX: 1\r\n\r\n") for _ in range(2)]
        assert fields[0] == fields[1] == [(b"host", b"h"), (b"x", b"1")]
        assert fields[0] is not fields[1]
        assert {(type(field), type(field[0]), type(field[1])) for field in fields[0]} == {(tuple, bytes, bytes)}


def test_no_state_of_one_head_is_left_for_the_next() -> None:
    """llhttp stops at an upgrade, and remembers lengths and codings; the next head must not feel it."""
    blocks = [
        b"Connection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"Content-Length: 5\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n",
    ]
    for protocol in (HttpToolsProtocol, H11Protocol):
        for block in blocks:
            protocol.tokenize(block)
            with pytest.raises(Refusal):
                protocol.tokenize(b"\x00\r\n\r\n")
            assert protocol.tokenize(b"X: 1\r\n\r\n") == [(b"x", b"1")]


def test_the_public_names_are_these_classes() -> None:
    assert PublicHttpToolsProtocol is HttpToolsProtocol
    assert PublicH11Protocol is H11Protocol
    assert AutoHTTPProtocol is HttpToolsProtocol
    assert issubclass(HttpToolsProtocol, HTTPConnection)
    assert issubclass(HTTPConnection, asyncio.Protocol)


# -- Scopes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parser", PARSERS)
def test_what_one_request_does_to_its_scope_no_other_sees(parser: str) -> None:
    seen: list[dict[str, Any]] = []

    async def vandal(scope: Any, receive: Any, send: Any) -> None:
        seen.append({key: value.copy() if hasattr(value, "copy") else value for key, value in scope.items()})
        scope["headers"].append((b"x-user", b"admin"))
        scope["headers"][0] = (b"host", b"evil")
        scope["asgi"]["version"] = "9"
        scope["state"]["mine"] = scope["path"] = "changed"
        scope["new"] = 1
        del scope["method"]
        await send(start(200, (b"content-length", b"0")))
        await send(body())

    async def job() -> None:
        async with Served(vandal, parser, app_state={"shared": 1}) as served:
            client = await served.connect()
            for _ in range(3):  # the second and third from memory
                await client.ask(GET)
            other = await served.connect()
            await other.ask(GET)
            assert served.app_state == {"shared": 1}
        client_ports = {scope.pop("client") for scope in seen}
        assert len(client_ports) == 2
        assert seen[0]["headers"] == [(b"host", b"example.org")]
        assert seen[0]["state"] == {"shared": 1}
        assert all(scope == seen[0] for scope in seen)

    run(job())


@pytest.mark.parametrize("parser", PARSERS)
def test_the_state_of_the_lifespan_is_copied_but_its_values_are_shared(parser: str) -> None:
    found: list[Any] = []
    shared: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope["state"])
        await hello(scope, receive, send)

    async def job() -> None:
        async with Served(app, parser, app_state={"list": shared}) as served:
            await served.ask()
            await served.ask()
            assert found[0] == found[1] == {"list": []}
            assert found[0] is not found[1] is not served.app_state
            assert found[0]["list"] is found[1]["list"] is shared

    run(job())


@pytest.mark.parametrize("parser", PARSERS)
def test_the_scope_of_a_request(parser: str) -> None:
    scopes: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await hello(scope, receive, send)

    async def job() -> None:
        async with Served(app, parser, root_path="/base") as served:
            client = await served.connect()
            await client.ask(request("/a%20b?c=%20d", b"X-A: 1", method=b"DELETE", version=b"1.0"))
            assert scopes == [
                {
                    "type": "http",
                    "asgi": {"version": "3.0", "spec_version": "2.3"},
                    "http_version": "1.0",
                    "server": ("127.0.0.1", served.port),
                    "client": client.sock.getsockname(),
                    "scheme": "http",
                    "method": "DELETE",
                    "root_path": "/base",
                    "path": "/base/a b",
                    "raw_path": b"/base/a%20b",
                    "query_string": b"c=%20d",
                    "headers": [(b"host", b"example.org"), (b"x-a", b"1")],
                    "state": {},
                }
            ]

    run(job())
