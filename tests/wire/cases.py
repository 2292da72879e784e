"""The corpus: requests that must be served, and how, and requests that must be refused, and why.

The conformance, segmentation, differential and fuzz tests all read these tables. RFC sections without a number are
those of 9112.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HOST = b"Host: example.org\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: example.org\r\n\r\n"
"""Follows every refused request: it must never reach the application."""


@dataclass(frozen=True)
class Valid:
    """A request that is served: what the application sees of it."""

    name: str
    raw: bytes
    body: bytes = b""
    scope: dict[str, Any] = field(default_factory=dict)
    """Expected members of the scope; others are not compared."""
    headers: list[tuple[bytes, bytes]] | None = None
    """Exactly these in the scope; None: not compared."""
    closes: bool = False
    """The server closes the connection after the answer."""

    @property
    def method(self) -> str:
        return self.raw.lstrip(b"\r\n").split(b" ", 1)[0].decode()


@dataclass(frozen=True)
class Refused:
    """A request that is answered by the server itself, with a 4xx, and ends the connection."""

    name: str
    raw: bytes
    status: int = 400


def line(raw: bytes) -> bytes:
    """A whole request from its request line."""
    return raw + b"\r\n" + HOST + b"\r\n"


def target(raw: bytes, method: bytes = b"GET") -> bytes:
    return line(method + b" " + raw + b" HTTP/1.1")


def fields(raw: bytes) -> bytes:
    """A GET with these field lines, each with its own line end, after a good Host."""
    return b"GET / HTTP/1.1\r\n" + HOST + raw + b"\r\n"


def hosted(raw: bytes, version: bytes = b"1.1") -> bytes:
    """A GET whose field lines are exactly these."""
    return b"GET / HTTP/" + version + b"\r\n" + raw + b"\r\n"


def post(raw_fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST /body HTTP/" + version + b"\r\n" + HOST + raw_fields + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", body)


TOKEN_CHARACTERS = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""RFC 9110 5.6.2."""

VALID: list[Valid] = [
    # -- request line --
    Valid("plain GET", target(b"/"), scope={"method": "GET", "path": "/", "raw_path": b"/", "query_string": b""}),
    Valid("path and query", target(b"/a/b?c=d&e"), scope={"path": "/a/b", "query_string": b"c=d&e"}),
    Valid("second ? belongs to the query", target(b"/a?b?c/d"), scope={"path": "/a", "query_string": b"b?c/d"}),
    Valid("empty query", target(b"/a?"), scope={"path": "/a", "raw_path": b"/a", "query_string": b""}),
    Valid(
        "escapes are decoded in path alone",
        target(b"/a%20b%2Fc?d%20e"),
        scope={"path": "/a b/c", "raw_path": b"/a%20b%2Fc", "query_string": b"d%20e"},
    ),
    Valid("escaped UTF-8", target(b"/%E2%82%AC"), scope={"path": "/€", "raw_path": b"/%E2%82%AC"}),
    Valid("escapes that are no UTF-8", target(b"/%ff"), scope={"path": "/�", "raw_path": b"/%ff"}),
    Valid("dots are left alone", target(b"/a/../b/./c"), scope={"path": "/a/../b/./c"}),
    Valid("empty segments are left alone", target(b"//a//b/"), scope={"path": "//a//b/", "raw_path": b"//a//b/"}),
    Valid("punctuation of pchar", target(b"/-._~!$&'()*+,;=:@"), scope={"path": "/-._~!$&'()*+,;=:@"}),
    Valid("OPTIONS *", target(b"*", b"OPTIONS"), scope={"method": "OPTIONS", "path": "*", "raw_path": b"*"}),
    Valid("OPTIONS of a path", target(b"/a", b"OPTIONS"), scope={"method": "OPTIONS", "path": "/a"}),
    Valid("unknown method", target(b"/", b"FROB"), scope={"method": "FROB"}),
    Valid(
        "long unknown method", target(b"/", b"BASELINE-CONTROL-AND-MORE"), scope={"method": "BASELINE-CONTROL-AND-MORE"}
    ),
    Valid("method that begins like a known one", target(b"/", b"GETS"), scope={"method": "GETS"}),
    Valid("method of one letter", target(b"/", b"G"), scope={"method": "G"}),
    Valid("lower-case method", target(b"/", b"get"), scope={"method": "get"}),
    Valid("mixed-case method", target(b"/", b"Get"), scope={"method": "Get"}),
    Valid(
        "method of every token character", target(b"/", TOKEN_CHARACTERS), scope={"method": TOKEN_CHARACTERS.decode()}
    ),
    *(
        Valid(f"method {method}", target(b"/", method.encode()), scope={"method": method})
        for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "M-SEARCH", "QUERY", "PRI", "SOURCE")
    ),
    Valid("HTTP/1.0 without Host", hosted(b"", b"1.0"), scope={"http_version": "1.0"}, headers=[], closes=True),
    Valid("HTTP/1.0 with Host", hosted(HOST, b"1.0"), scope={"http_version": "1.0"}, closes=True),
    Valid("HTTP/1.2 is served as 1.1", hosted(HOST, b"1.2"), scope={"http_version": "1.1"}),
    Valid("HTTP/1.9 is served as 1.1", hosted(HOST, b"1.9"), scope={"http_version": "1.1"}),
    Valid("one empty line before (2.2)", b"\r\n" + target(b"/a"), scope={"path": "/a"}),
    Valid("two empty lines before (2.2)", b"\r\n\r\n" + target(b"/a"), scope={"path": "/a"}),
    # -- absolute-form (3.2.2): split, and Host replaced by its authority --
    Valid(
        "absolute-form",
        target(b"http://other.example:81/a%20b?c"),
        scope={"path": "/a b", "raw_path": b"/a%20b", "query_string": b"c"},
        headers=[(b"host", b"other.example:81")],
    ),
    Valid(
        "absolute-form without a path",
        target(b"http://other.example"),
        scope={"path": "/", "raw_path": b"/", "query_string": b""},
        headers=[(b"host", b"other.example")],
    ),
    Valid(
        "absolute-form with a query and no path",
        target(b"http://other.example?c=d"),
        scope={"path": "/", "query_string": b"c=d"},
        headers=[(b"host", b"other.example")],
    ),
    Valid("absolute-form in capitals", target(b"HTTP://other.example/a"), scope={"path": "/a", "scheme": "http"}),
    Valid(
        "absolute-form says https on a plain connection",
        target(b"https://other.example/a"),
        scope={"path": "/a", "scheme": "http"},
        headers=[(b"host", b"other.example")],
    ),
    Valid(
        "absolute-form of an IPv6 host",
        target(b"http://[::1]:80/a"),
        scope={"path": "/a"},
        headers=[(b"host", b"[::1]:80")],
    ),
    Valid(
        "absolute-form in 1.0 without Host",
        b"GET http://other.example/a HTTP/1.0\r\n\r\n",
        scope={"path": "/a", "http_version": "1.0"},
        closes=True,
    ),
    Valid(
        "absolute-form of OPTIONS without a path (3.2.4)",
        target(b"http://other.example", b"OPTIONS"),
        scope={"path": "*"},
        headers=[(b"host", b"other.example")],
    ),
    Valid("a URL inside the path", target(b"/http://other.example/a"), scope={"path": "/http://other.example/a"}),
    # -- Host --
    *(
        Valid(f"Host {host.decode()}", hosted(b"Host: " + host + b"\r\n"), headers=[(b"host", host)])
        for host in (
            b"example.org",
            b"EXAMPLE.org:8000",
            b"127.0.0.1:80",
            b"[::1]",
            b"[fe80::1]:8080",
            b"under_score.example",
            b"a%20b",
            b"a-b~c.d",
            b"a!$&'()*+,;=b",
            b"example.org:",
        )
    ),
    Valid("Host with blanks around", hosted(b"Host: \t example.org \t\r\n"), headers=[(b"host", b"example.org")]),
    Valid("Host in capitals", hosted(b"HOST: example.org\r\n"), headers=[(b"host", b"example.org")]),
    # -- fields --
    Valid(
        "order and duplicates are kept, names lower-cased",
        fields(b"X-B: 1\r\nX-a: 2\r\nx-b: 3\r\n"),
        headers=[(b"host", b"example.org"), (b"x-b", b"1"), (b"x-a", b"2"), (b"x-b", b"3")],
    ),
    Valid(
        "blanks around a value are cut",
        fields(b"X: \t  v w\t x \t \r\n"),
        headers=[(b"host", b"example.org"), (b"x", b"v w\t x")],
    ),
    Valid("no blank before a value", fields(b"X:v\r\n"), headers=[(b"host", b"example.org"), (b"x", b"v")]),
    Valid("empty value", fields(b"X:\r\nY: \t \r\n"), headers=[(b"host", b"example.org"), (b"x", b""), (b"y", b"")]),
    Valid(
        "obs-text in a value",
        fields(b"X: \x80\xe9\xff\r\n"),
        headers=[(b"host", b"example.org"), (b"x", b"\x80\xe9\xff")],
    ),
    Valid("colons in a value", fields(b"X: a:b::c\r\n"), headers=[(b"host", b"example.org"), (b"x", b"a:b::c")]),
    Valid(
        "name of every token character",
        fields(TOKEN_CHARACTERS + b": v\r\n"),
        headers=[(b"host", b"example.org"), (TOKEN_CHARACTERS.lower(), b"v")],
    ),
    Valid("name of one letter", fields(b"X: v\r\n")),
    Valid("TE is no Transfer-Encoding", fields(b"TE: trailers, deflate\r\n")),
    Valid("99 fields", fields(b"".join(b"X-%d: v\r\n" % number for number in range(98)))),
    Valid("a field of 16,000 octets", fields(b"X: " + b"v" * 16_000 + b"\r\n")),
    Valid("a request line of 8,000 octets", target(b"/" + b"a" * 7_986)),
    # -- Connection --
    Valid("Connection: close", fields(b"Connection: close\r\n"), closes=True),
    Valid("Connection: Close in a list", fields(b"Connection: foo ,\tClOsE\r\n"), closes=True),
    Valid("close in the second Connection line", fields(b"Connection: foo\r\nConnection: close\r\n"), closes=True),
    Valid("a word that only begins with close", fields(b"Connection: closed, x-close\r\n")),
    Valid("Connection: keep-alive in 1.1", fields(b"Connection: keep-alive\r\n")),
    Valid("Connection: keep-alive in 1.0", hosted(HOST + b"Connection: Keep-Alive\r\n", b"1.0")),
    # -- Content-Length --
    Valid("a body", post(b"Content-Length: 5\r\n", b"hello"), b"hello"),
    Valid("a body of a GET", b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    Valid(
        "a body of a method of one's own", b"FROB / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", b"hello"
    ),
    Valid("a body in HTTP/1.0", post(b"Content-Length: 5\r\n", b"hello", b"1.0"), b"hello", closes=True),
    Valid("an empty body", post(b"Content-Length: 0\r\n")),
    Valid("POST without a length", post(b"")),
    Valid("zeros before the length", post(b"Content-Length: 0005\r\n", b"hello"), b"hello"),
    Valid("a length of 19 digits", post(b"Content-Length: 0000000000000000005\r\n", b"hello"), b"hello"),
    Valid("blanks around the length", post(b"Content-Length: \t5 \t\r\n", b"hello"), b"hello"),
    Valid("a body that looks like a request", post(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED), SMUGGLED),
    Valid("a body of every octet", post(b"Content-Length: 256\r\n", bytes(range(256))), bytes(range(256))),
    # -- chunked --
    Valid("one chunk", chunked(b"5\r\nhello\r\n0\r\n\r\n"), b"hello"),
    Valid("no chunk", chunked(b"0\r\n\r\n")),
    Valid("many chunks", chunked(b"1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n"), b"abcdef"),
    Valid("hexadecimal sizes", chunked(b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"), b"0123456789" * 2),
    Valid("zeros before a size", chunked(b"0000000000000005\r\nhello\r\n000\r\n\r\n"), b"hello"),
    Valid("CRLF inside a chunk", chunked(b"7\r\na\r\n0\r\n\r\r\n0\r\n\r\n"), b"a\r\n0\r\n\r"),
    Valid("Chunked in any case", post(b"Transfer-Encoding: ChUnKeD\r\n", b"5\r\nhello\r\n0\r\n\r\n"), b"hello"),
    Valid("blanks around chunked", post(b"Transfer-Encoding: \t chunked \t\r\n", b"5\r\nhello\r\n0\r\n\r\n"), b"hello"),
    Valid("chunk extensions", chunked(b'5;a\r\nhello\r\n5;a=b;c="d"\r\nworld\r\n0;e=f\r\n\r\n'), b"helloworld"),
    Valid(
        "trailers are no headers",
        chunked(b"5\r\nhello\r\n0\r\nHost: evil.example\r\nContent-Length: 3\r\nX-Trailer: v\r\n\r\n"),
        b"hello",
        headers=[(b"host", b"example.org"), (b"transfer-encoding", b"chunked")],
    ),
    Valid(
        "chunked body of a GET",
        b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"hi",
    ),
    # -- an Upgrade that nobody speaks (7.8 of 9110): ignored --
    Valid("Upgrade to the unknown", fields(b"Connection: Upgrade\r\nUpgrade: foo/1\r\n")),
    Valid("Upgrade without Connection", fields(b"Upgrade: websocket\r\n")),
    Valid(
        "Upgrade with a body",
        post(b"Connection: upgrade\r\nUpgrade: foo\r\nContent-Length: %d\r\n" % len(SMUGGLED), SMUGGLED),
        SMUGGLED,
    ),
    Valid(
        "Upgrade with a chunked body",
        post(
            b"Connection: upgrade\r\nUpgrade: foo\r\nTransfer-Encoding: chunked\r\n",
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
        ),
        SMUGGLED,
    ),
    Valid(
        "Upgrade to h2c",
        fields(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
    ),
]

LONG = 20_000
"""Octets: over every limit of 16 KiB."""

REQUEST_LINES: list[Refused] = [
    *(
        Refused(f"version {version.decode('latin-1')!r}", line(b"GET / " + version))
        for version in (
            b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3.0", b"HTTP/2", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/1.10",
            b"HTTP/01.1",
            b"HTTP/11", b"HTTP/1,1", b"HTTP/-1.1", b"HTTP/1.1x", b"http/1.1", b"Http/1.1", b"HTTPS/1.1", b"HTTP1.1",
            b"HTTP 1.1",
            b"ICE/1.0", b"RTSP/1.0", b"XTTP/1.1", b"HTTP/1.\xb9",
        )
    ),
    Refused("no version", line(b"GET /")),
    Refused("no version, blank", line(b"GET / ")),
    Refused("HTTP/0.9 request", b"GET /\r\n"),
    Refused("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Refused("two blanks before the target", line(b"GET  / HTTP/1.1")),
    Refused("two blanks before the version", line(b"GET /  HTTP/1.1")),
    Refused("blank after the version", line(b"GET / HTTP/1.1 ")),
    Refused("blank before the method", line(b" GET / HTTP/1.1")),
    Refused("tab after the method", line(b"GET\t/ HTTP/1.1")),
    Refused("tab before the version", line(b"GET /\tHTTP/1.1")),
    Refused("form feed after the method", line(b"GET\x0c/ HTTP/1.1")),
    Refused("no-break space after the method", line(b"GET\xa0/ HTTP/1.1")),
    Refused("no method", line(b" / HTTP/1.1")),
    Refused("method alone", line(b"GET")),
    *(
        Refused(f"method {method.decode('latin-1')!r}", line(method + b" / HTTP/1.1"))
        for method in (
            b"G(T", b"GE:T", b"GE\x00T", b"GE\x7fT", b"G\xc9T", b"GE\tT", b"[GET]", b'"GET"', b"GET/", b"GET,",
            b"\xef\xbb\xbfGET",
        )
    ),
    Refused("CONNECT", line(b"CONNECT example.org:443 HTTP/1.1")),
    Refused("CONNECT of a path", line(b"CONNECT / HTTP/1.1")),
    Refused("* for GET", target(b"*")),
    Refused("* and more for OPTIONS", target(b"*/a", b"OPTIONS")),
    Refused("relative target", target(b"foo")),
    Refused("query alone", target(b"?a=b")),
    Refused("authority-form for GET", target(b"example.org:80")),
    Refused("fragment", target(b"/a#b")),
    Refused("fragment in the query", target(b"/a?b#c")),
    Refused("fragment in absolute-form", target(b"http://example.org/a#b")),
    Refused("blank in the target", target(b"/a b")),
    *(
        Refused(f"{octet!r} in the {place}", target(before + bytes([octet]) + b"b"))
        for octet in (0x00, 0x01, 0x09, 0x0B, 0x1F, 0x7F, 0x80, 0xE9, 0xFF)
        for place, before in (("path", b"/a"), ("query", b"/a?"))
    ),
    Refused("raw UTF-8 in the path", target("/€".encode())),
    Refused("raw UTF-8 in the query", target("/?€".encode())),
    Refused("CR in the target", target(b"/a\rb")),
    Refused("absolute-form without an authority", target(b"http://")),
    Refused("absolute-form with an empty host", target(b"http:///a")),
    Refused("absolute-form with userinfo", target(b"http://user:password@example.org/a")),
    Refused("absolute-form with a bad port", target(b"http://example.org:8x/a")),
    Refused("absolute-form with a bad host", target(b"http://exam<ple.org/a")),
    Refused("absolute-form without Host in 1.1", b"GET http://example.org/a HTTP/1.1\r\n\r\n"),
    Refused("garbage", b"\x00\x01\x02\x03\x04\r\n\r\n"),
    Refused("a TLS hello", b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03" + b"\x00" * 36 + b"\r\n\r\n"),
    Refused("an answer", b"HTTP/1.1 200 OK\r\nHost: example.org\r\n\r\n"),
    Refused("SSH", b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    Refused("a flood of empty lines", b"\r\n" * 1_000 + target(b"/")),
]  # fmt: skip

LINE_ENDS: list[Refused] = [
    Refused("LF before the request line", b"\n" + target(b"/")),
    Refused("CR before the request line", b"\r" + target(b"/")),
    Refused("CR CR LF before the request line", b"\r\r\n" + target(b"/")),
    Refused("LF after the request line", b"GET / HTTP/1.1\n" + HOST + b"\r\n"),
    Refused("LF after a field", b"GET / HTTP/1.1\r\nHost: example.org\n\r\n"),
    Refused("LF between two fields", fields(b"X: a\nY: b\r\n")),
    Refused("LF for the empty line", b"GET / HTTP/1.1\r\n" + HOST + b"\n"),
    Refused("LF everywhere", b"GET / HTTP/1.1\nHost: example.org\n\n"),
    Refused("LF LF after a field", b"GET / HTTP/1.1\r\nHost: example.org\n\n"),
    Refused("CR after the request line", b"GET / HTTP/1.1\r" + HOST + b"\r\n"),
    Refused("CR CR LF after the request line", b"GET / HTTP/1.1\r\r\n" + HOST + b"\r\n"),
    Refused("CR in a value", fields(b"X: a\rb\r\n")),
    Refused("CR between two fields", fields(b"X: a\rY: b\r\n")),
    Refused("CR at the end of a value", fields(b"X: a\r\r\n")),
    Refused("CR at the begin of a value", fields(b"X:\ra\r\n")),
    Refused("CR in a name", fields(b"X\rY: b\r\n")),
    Refused("CR for the empty line", b"GET / HTTP/1.1\r\n" + HOST + b"\r" + b"X: y\r\n\r\n"),
]

FIELDS: list[Refused] = [
    Refused("no colon", fields(b"NoColon\r\n")),
    Refused("no colon in the first field", hosted(b"NoColon\r\n" + HOST)),
    Refused("empty name", fields(b": v\r\n")),
    Refused("empty name and value", fields(b":\r\n")),
    Refused("blank before the colon", fields(b"X : v\r\n")),
    Refused("tab before the colon", fields(b"X\t: v\r\n")),
    Refused("blank before the colon of Content-Length", post(b"Content-Length : 5\r\n", b"hello")),
    Refused("blank before the colon of Transfer-Encoding", post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n")),
    Refused("blank before the first name", hosted(b" Host: example.org\r\n")),
    Refused("tab before the first name", hosted(b"\tX: y\r\n" + HOST)),
    Refused("folded value", fields(b"X: a\r\n b\r\n")),
    Refused("value folded by a tab", fields(b"X: a\r\n\tb\r\n")),
    Refused("folded with nothing in it", fields(b"X: a\r\n \r\n")),
    Refused("folded Transfer-Encoding", post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n")),
    Refused("folded Host", hosted(b"Host:\r\n example.org\r\n")),
    *(
        Refused(f"{octet!r} in a value", fields(b"X: a" + bytes([octet]) + b"b\r\n"))
        for octet in (0x00, 0x01, 0x08, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F)
    ),
    *(
        Refused(f"{octet!r} at the end of a value", fields(b"X: a" + bytes([octet]) + b"\r\n"))
        for octet in (0x00, 0x0B, 0x7F)
    ),
    *(
        Refused(f"{chr(octet)!r} in a name", fields(b"X" + bytes([octet]) + b"Y: v\r\n"))
        for octet in (*b'\x00\x01\t "(),/;<=>?@[\\]{}\x7f', 0x80, 0xE9, 0xFF)
    ),
]

HOSTS: list[Refused] = [
    Refused("no Host", hosted(b"")),
    Refused("no Host among others", hosted(b"X: y\r\nX-Host: example.org\r\n")),
    Refused("two Hosts", hosted(HOST + b"Host: other.example\r\n")),
    Refused("two equal Hosts", hosted(HOST + HOST)),
    Refused("two Hosts in different cases", hosted(HOST + b"hOST: other.example\r\n")),
    Refused("two Hosts in 1.0", hosted(HOST + HOST, b"1.0")),
    Refused("bad Host in 1.0", hosted(b"Host: a b\r\n", b"1.0")),
    Refused("two Hosts with absolute-form", b"GET http://example.org/ HTTP/1.1\r\n" + HOST + HOST + b"\r\n"),
    Refused("bad Host with absolute-form", b"GET http://example.org/ HTTP/1.1\r\nHost: a b\r\n\r\n"),
    *(
        Refused(f"Host {host.decode('latin-1')!r}", hosted(b"Host: " + host + b"\r\n"))
        for host in (
            b"a b", b"a\tb", b"a/b", b"/", b"a?b", b"a#b", b"user@a", b"a\\b", b"<a>", b'"a"', b"a^b", b"a|b",
            b"{a}", b"[::1", b"::1]", b"::1",
            b"[::1]x", b"[zz]", b"[]", b"a:b", b"a:80:80", b"a:-1", b"a:8 0", b"[::1]:x", b"\xe9.example", b"a\xff",
            b"http://a", b"a, b",
        )
    ),
]  # fmt: skip

LENGTHS: list[Refused] = [
    *(
        Refused(f"Content-Length {value.decode('latin-1')!r}", post(b"Content-Length: " + value + b"\r\n", b"hello"))
        for value in (
            b"", b"+5", b"-5", b"-0", b"0x5", b"5a", b"a5", b"1_0", b"5 5", b"5;", b"5.0", b"5e0", b"\xb5",
            b"\xd9\xa5", b"five", b'"5"', b"(5)",
            b"5,5", b"5, 5", b"5,6", b"5,", b",5", b"5,,5", b"18446744073709551621", b"00000000000000000005", b"9" * 40,
            b"5\x0b", b"5\x00", b"5\xa0",
        )
    ),
    Refused("two equal Content-Lengths", post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello")),
    Refused("two different Content-Lengths", post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!")),
    Refused("two Content-Lengths apart", post(b"Content-Length: 5\r\nX: y\r\ncontent-length: 5\r\n", b"hello")),
    Refused("two Content-Lengths of 0", post(b"Content-Length: 0\r\nContent-Length: 0\r\n")),
    Refused("Content-Length of 20 digits in 1.0", post(b"Content-Length: 18446744073709551621\r\n", b"hello", b"1.0")),
]  # fmt: skip

CODINGS: list[Refused] = [
    *(
        Refused(f"Transfer-Encoding {value.decode('latin-1')!r}", post(CHUNKED[:19] + value + b"\r\n", b"0\r\n\r\n"))
        for value in (
            b"", b"gzip", b"identity", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"chunked, identity",
            b"identity, chunked",
            b"chunked,", b",chunked", b"chunked ,", b"chunked;q=1", b"chunked;", b'"chunked"', b"xchunked",
            b"chunkedx", b"chunk", b"x-chunked",
            b"chun ked", b"chunked chunked", b"\x0bchunked", b"chunked\x0b", b"chunked\xa0", b"\xa0chunked",
            b"chunked\x00", b"chunked\x0c",
            b"\xffchunked", "\u212aunked".encode(), b"'chunked'", b"c", b"chunked\tx",
        )
    ),
    Refused("two Transfer-Encodings", post(CHUNKED + CHUNKED, b"0\r\n\r\n")),
    Refused("two different Transfer-Encodings", post(b"Transfer-Encoding: gzip\r\n" + CHUNKED, b"0\r\n\r\n")),
    Refused("Transfer-Encoding and identity", post(CHUNKED + b"Transfer-Encoding: identity\r\n", b"0\r\n\r\n")),
    Refused("Transfer-Encoding in 1.0", post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"1.0")),
    Refused(
        "Transfer-Encoding in 1.0 with keep-alive",
        post(b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n", b"0\r\n\r\n", b"1.0"),
    ),
    Refused("both lengths", post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n")),
    Refused("both lengths, other order", post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n")),
    Refused("both lengths, the first 0", post(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n")),
    Refused("both lengths in 1.0", post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"1.0")),
    Refused("Content-Length and gzip", post(b"Content-Length: 5\r\nTransfer-Encoding: gzip\r\n", b"hello")),
]  # fmt: skip

CHUNKS: list[Refused] = [
    *(
        Refused(f"chunk size {size.decode('latin-1')!r}", chunked(size + b"\r\nhello\r\n0\r\n\r\n"))
        for size in (
            b"", b"g", b"0x5", b"-5", b"+5", b" 5", b"\t5", b"5g", b"5_", b"5.", b"0_5", b"\xb5", b"\xd9\xa5",
            b"5\x00", b"5\x0b", b"5\xa0", b"5 5",
            b"00000000000000005", b"10000000000000005", b"0" * 1_000 + b"5", b"x", b"5,", b"5:", b"0x", b"5=a",
        )
    ),
    Refused("LF after a size", chunked(b"5\nhello\r\n0\r\n\r\n")),
    Refused("CR after a size", chunked(b"5\rhello\r\n0\r\n\r\n")),
    Refused("CR CR LF after a size", chunked(b"5\r\r\nhello\r\n0\r\n\r\n")),
    Refused("nothing after a chunk", chunked(b"5\r\nhello0\r\n\r\n")),
    Refused("LF after a chunk", chunked(b"5\r\nhello\n0\r\n\r\n")),
    Refused("CR after a chunk", chunked(b"5\r\nhello\r0\r\n\r\n")),
    Refused("two other octets after a chunk", chunked(b"5\r\nhelloXX0\r\n\r\n")),
    Refused("CR and another octet after a chunk", chunked(b"5\r\nhello\rX0\r\n\r\n")),
    Refused("another octet and LF after a chunk", chunked(b"5\r\nhelloX\n0\r\n\r\n")),
    Refused("a chunk longer than said", chunked(b"3\r\nhello\r\n0\r\n\r\n")),
    Refused("a chunk shorter than said", chunked(b"7\r\nhello\r\n0\r\n\r\n")),
    Refused("LF after the last chunk", chunked(b"5\r\nhello\r\n0\n\r\n")),
    Refused("LF at the end", chunked(b"5\r\nhello\r\n0\r\n\n")),
    Refused("LF LF at the end", chunked(b"5\r\nhello\r\n0\n\n")),
    Refused("CR and another octet at the end", chunked(b"5\r\nhello\r\n0\r\n\rX")),
    *(
        Refused(f"{octet!r} in a chunk extension", chunked(b"5;a" + bytes([octet]) + b"b\r\nhello\r\n0\r\n\r\n"))
        for octet in (0x00, 0x01, 0x0A, 0x0B, 0x0D, 0x1F, 0x7F)
    ),
    Refused("LF in a quoted chunk extension", chunked(b'5;a="\n"\r\nhello\r\n0\r\n\r\n')),
    Refused("CR in a quoted chunk extension", chunked(b'5;a="\r"\r\nhello\r\n0\r\n\r\n')),
    Refused("NUL in the last chunk's extension", chunked(b"5\r\nhello\r\n0;a\x00\r\n\r\n")),
    Refused("a request behind LF in an extension", chunked(b"5;\nhello\r\n0\r\n\r\n")),
    Refused("a chunk extension too long", chunked(b"5;a=" + b"b" * LONG + b"\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk extensions too long together", chunked((b"1;" + b"a" * 400 + b"\r\nx\r\n") * 50 + b"0\r\n\r\n")),
    Refused("an extension of the last chunk too long", chunked(b"0;a=" + b"b" * LONG + b"\r\n\r\n")),
]  # fmt: skip

TRAILERS: list[Refused] = [
    *(
        Refused(f"trailer {trailer[:20].decode('latin-1')!r}", chunked(b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n"))
        for trailer in (
            b"NoColon", b": v", b"X : v", b"X\t: v", b" X: v", b"X: a\r\n b", b"X: a\r\n\tb", b"X: a\x00b",
            b"X: a\x01b", b"X: a\x7fb", b"X\x00: v",
            b"X Y: v", b"X: a\nY: b", b"X: a\rb", b"X\xe9: v", b"(X): v", b"GET / HTTP/1.1",
        )
    ),
    Refused("a trailer too long", chunked(b"0\r\nX: " + b"v" * LONG + b"\r\n\r\n")),
    Refused("trailers too long together", chunked(b"0\r\n" + b"X: v\r\n" * 6_000 + b"\r\n")),
]  # fmt: skip

LIMITS: list[Refused] = [
    Refused("a target too long", target(b"/" + b"a" * 9_000), 414),
    Refused("a query too long", target(b"/?" + b"a" * 70_000), 414),
    Refused("a method too long", line(b"A" * 9_000 + b" / HTTP/1.1"), 414),
    Refused("a field too long", fields(b"X: " + b"v" * LONG + b"\r\n"), 431),
    Refused("a name too long", fields(b"X" * LONG + b": v\r\n"), 431),
    Refused("a field of blanks too long", fields(b"X: " + b" " * LONG + b"\r\n"), 431),
    Refused("101 fields", fields(b"X: v\r\n" * 100), 431),
    Refused("a thousand fields", fields(b"X: v\r\n" * 1_000), 431),
    Refused("a head too long", fields((b"X: " + b"v" * 8_000 + b"\r\n") * 10), 431),
]

EXPECTATIONS: list[Refused] = [
    Refused(f"Expect {value.decode()!r}", post(b"Expect: " + value + b"\r\nContent-Length: 5\r\n", b"hello"), 417)
    for value in (b"200-ok", b"100-continue-please", b"x", b"100-continue, x")
]

REFUSED: list[Refused] = [
    *REQUEST_LINES,
    *LINE_ENDS,
    *FIELDS,
    *HOSTS,
    *LENGTHS,
    *CODINGS,
    *CHUNKS,
    *TRAILERS,
    *LIMITS,
    *EXPECTATIONS,
]

UNDECIDED: list[bytes] = [
    hosted(b"Host:\r\n"),
    target(b"ftp://example.org/a"),
    target(b'/a"b<c>d\\e^f`g{h|i}'),
    target(b"/a%zz"),
    target(b"http://example.org:99999/"),
    hosted(b"Host: a:99999\r\n"),
    hosted(b"Host: a%zz\r\n"),
    chunked(b"5 \r\nhello\r\n0\r\n\r\n"),
    chunked(b"5 ;a=b\r\nhello\r\n0\r\n\r\n"),
    chunked(b"5; a = b\r\nhello\r\n0\r\n\r\n"),
    chunked(b"5;\r\nhello\r\n0\r\n\r\n"),
    chunked(b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n'),
    chunked(b"5;\xe9\r\nhello\r\n0\r\n\r\n"),
    post(b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", b"hello"),
    post(b"Expect:\r\nContent-Length: 5\r\n", b"hello"),
    post(b"Expect: x\r\nContent-Length: 5\r\n", b"hello", b"1.0"),
    b"\r\n\r\n\r\n" + target(b"/"),
    fields(b"Connection:\r\n"),
    fields(b"Connection: \x80, close\r\n"),
    fields(b"Keep-Alive: timeout=5\r\nConnection: keep-alive, close\r\n"),
    post(b"Content-Length: 5\r\nContent-Length:\r\n", b"hello"),
    target(b"/" + b"a" * 8_176),
    target(b"/" + b"a" * 8_177),
    fields(b"X: " + b"v" * 16_381 + b"\r\n"),
    fields(b"X: " + b"v" * 16_382 + b"\r\n"),
]
"""Where the RFC leaves room: what is done is not pinned, only that both parsers do the same."""
