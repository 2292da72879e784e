"""Heads: what every request line and field means, every limit at its edge, and no verdict that depends on segments."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uvicorn.server.h11_protocol import H11Protocol
from uvicorn.server.head import (
    CHUNKED,
    Head,
    HeadReader,
    Limits,
    Refusal,
    Tokenizer,
    check_unfinished,
    skip_empty_lines,
)
from uvicorn.server.httptools_protocol import HttpToolsProtocol

TOKENIZERS: dict[str, Tokenizer] = {"httptools": HttpToolsProtocol.tokenize, "h11": H11Protocol.tokenize}


@pytest.fixture(params=list(TOKENIZERS))
def tokenize(request: pytest.FixtureRequest) -> Tokenizer:
    return TOKENIZERS[request.param]


DEFAULTS = Limits()


def read(head: bytes, tokenize: Tokenizer = HttpToolsProtocol.tokenize, limits: Limits = DEFAULTS) -> Head:
    return HeadReader(tokenize, limits).read(head)


def refusal(head: bytes, tokenize: Tokenizer = HttpToolsProtocol.tokenize, limits: Limits = DEFAULTS) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(head, tokenize, limits)
    return caught.value


def lines(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"Host: h") -> bytes:
    return b"\r\n".join([line, *([host] if host else []), *fields, b"", b""])


# -- Request line ------------------------------------------------------------------------------------------------------


def test_a_method_is_a_token_of_any_octet_that_tokens_hold() -> None:
    for octet in range(256):
        head = lines(line=b"A" + bytes([octet]) + b"Z / HTTP/1.1")
        if re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]", bytes([octet])):
            assert read(head).method == f"A{chr(octet)}Z"
        else:
            assert refusal(head).status == 400


def test_a_target_is_visible_ascii_without_a_fragment() -> None:
    for octet in range(256):
        head = lines(line=b"GET /a" + bytes([octet]) + b"b HTTP/1.1")
        if 0x21 <= octet <= 0x7E and octet != 0x23:
            found = read(head)
            whole = found.scope["raw_path"] + (b"?" + found.scope["query_string"] if octet == 0x3F else b"")
            assert whole == b"/a" + bytes([octet]) + b"b"
        else:
            assert refusal(head).status == 400


@pytest.mark.parametrize(
    ("version", "expected"),
    [(b"1.1", "1.1"), (b"1.0", "1.0"), (b"1.2", "1.1"), (b"1.9", "1.1")]
    + [(v, None) for v in (b"0.9", b"2.0", b"3.0", b"1.", b"1", b"1.10", b"11.1", b"1,1", b"", b"1.1 ", b"x.y")],
)
def test_the_version_is_answered_as_the_highest_that_is_spoken(version: bytes, expected: str | None) -> None:
    head = lines(line=b"GET / HTTP/" + version)
    if expected:
        assert read(head).version == read(head).scope["http_version"] == expected
    else:
        assert refusal(head).status == 400


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET / ",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET\t/ HTTP/1.1",
        b"GET / http/1.1",
        b"GET /a b HTTP/1.1",
        b"/ GET HTTP/1.1",
        b"GET / ICY/1.1",
        b"G\x00T / HTTP/1.1",
        b"GET / HTTP/1.1\x00",
        "GÉT / HTTP/1.1".encode(),
        "GET /é HTTP/1.1".encode(),
    ],
)
def test_what_is_no_request_line_is_refused(line: bytes) -> None:
    assert refusal(lines(line=line)).status == 400


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", b"/", b""),
        ("/?", b"/", b""),
        ("/a?b?c", b"/a", b"b?c"),
        ("//host/a", b"//host/a", b""),
        ("/a//b/../c;d", b"/a//b/../c;d", b""),
        ("/http://x/", b"/http://x/", b""),
        ('/|[{\\^`"<>', b'/|[{\\^`"<>', b""),
        ("http://e.org", b"/", b""),
        ("http://e.org/", b"/", b""),
        ("http://e.org?q", b"/", b"q"),
        ("http://e.org/p?q?r", b"/p", b"q?r"),
        ("HTTPS://e.org:8080/p", b"/p", b""),
        ("http://[::1]:80/p", b"/p", b""),
    ],
)
def test_a_target_is_split_into_path_and_query(target: str, path: bytes, query: bytes) -> None:
    scope = read(lines(line=b"GET " + target.encode() + b" HTTP/1.1")).scope
    assert (scope["raw_path"], scope["query_string"]) == (path, query)
    assert scope["path"] == path.decode()


@pytest.mark.parametrize(
    "target",
    [
        "*",
        "a",
        "a/b",
        "?q",
        "h:80",
        "http:/a",
        "http:///a",
        "http://",
        "http://u@h/",
        "ftp://h/",
        "http://h:x/",
        "http://[::1/",
        "http://[x]/",
        "http://h\\x/",
        "ws://h/",
        "mailto:a",
        "http://h%zz/",
    ],
)
def test_what_is_no_target_of_an_origin_is_refused(target: str) -> None:
    assert refusal(lines(line=b"GET " + target.encode() + b" HTTP/1.1")).status == 400


def test_options_asks_for_a_star() -> None:
    assert read(lines(line=b"OPTIONS * HTTP/1.1")).scope["path"] == "*"
    assert read(lines(line=b"OPTIONS http://h HTTP/1.1")).scope["path"] == "*"
    assert read(lines(line=b"OPTIONS http://h/ HTTP/1.1")).scope["path"] == "/"
    assert read(lines(line=b"OPTIONS http://h?q HTTP/1.1")).scope["path"] == "/"


@pytest.mark.parametrize("target", [b"h:80", b"/", b"*", b"http://h/"])
def test_connect_is_refused(target: bytes) -> None:
    assert refusal(lines(line=b"CONNECT " + target + b" HTTP/1.1")).status == 400


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/%41", "/A"),
        (b"/%c3%a9", "/é"),
        (b"/%C3%A9%2f", "/é/"),
        (b"/%ff", "/�"),
        (b"/%", "/%"),
        (b"/%4", "/%4"),
        (b"/%zz", "/%zz"),
        (b"/%00", "/\x00"),
        (b"/%25%34%31", "/%41"),
        (b"/+", "/+"),
    ],
)
def test_a_path_is_unquoted_once(raw: bytes, path: str) -> None:
    scope = read(lines(line=b"GET " + raw + b"?%41 HTTP/1.1")).scope
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw, b"%41")


def test_the_root_path_is_prefixed_to_path_and_raw_path() -> None:
    scope = HeadReader(HttpToolsProtocol.tokenize, Limits(), "/api").read(lines(line=b"GET /api/%41 HTTP/1.1")).scope
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/api", "/api/api/A", b"/api/api/%41")


# -- Fields: octets ----------------------------------------------------------------------------------------------------


def test_every_octet_of_a_field_name(tokenize: Tokenizer) -> None:
    for octet in range(256):
        head = lines(b"X" + bytes([octet]) + b"y: 1")
        if octet == 0x3A:
            assert read(head, tokenize).fields[1] == (b"x", b"y: 1")
        elif re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]", bytes([octet])):
            assert read(head, tokenize).fields[1] == ((b"X%cy" % octet).lower(), b"1")
        else:
            assert refusal(head, tokenize).status == 400


def test_every_octet_of_a_field_value(tokenize: Tokenizer) -> None:
    for octet in range(256):
        head = lines(b"X: a" + bytes([octet]) + b"b")
        if octet == 0x09 or 0x20 <= octet <= 0x7E or octet >= 0x80:
            assert read(head, tokenize).fields[1] == (b"x", b"a%cb" % octet)
        else:
            assert refusal(head, tokenize).status == 400


@pytest.mark.parametrize("space", [b"", b" ", b"\t", b" \t", b"\t ", b" \t ", b"  \t\t  "])
@pytest.mark.parametrize(
    "field", [b"Transfer-Encoding: %bchunked%b", b"Content-Length:%b5%b", b"X:%ba\t b%b", b"X:%b%b"]
)
def test_white_space_around_a_value_is_no_part_of_it(field: bytes, space: bytes, tokenize: Tokenizer) -> None:
    value = read(lines(field % (space, space), line=b"POST / HTTP/1.1"), tokenize).fields[1][1]
    assert value == (field % (b"", b"")).partition(b":")[2].strip()


@pytest.mark.parametrize(
    "block",
    [
        b"X : 1",
        b"X\t: 1",
        b" X: 1",
        b"X",
        b": 1",
        b"X: 1\r\n folded",
        b"X: 1\r\n\tfolded",
        b"X: 1\nY: 2",
        b"X: 1\rY: 2",
        b"X: 1\r",
        b"X: 1\r\r",
        b"X: \x00",
        b"\x00",
        b"X: 1\r\n: 2",
    ],
)
def test_what_is_no_field_line_is_refused(block: bytes, tokenize: Tokenizer) -> None:
    assert refusal(lines(block), tokenize).status == 400


def test_names_are_lower_case_and_order_and_repeats_are_kept(tokenize: Tokenizer) -> None:
    fields = read(lines(b"B: 1", b"a: 2", b"B: 3", b"a: 2"), tokenize).fields
    assert fields == [(b"host", b"h"), (b"b", b"1"), (b"a", b"2"), (b"b", b"3"), (b"a", b"2")]
    assert {type(part) for field in fields for part in field} == {bytes}


# -- Host --------------------------------------------------------------------------------------------------------------

HOSTS = (
    [
        (host, True)
        for host in (b"h", b"h:80", b"h:", b"", b"[::1]", b"[::1]:80", b"1.2.3.4", b"a_b.c~d-e", b"h%41", b":1")
    ]
    + [
        (host, False)
        for host in (b"h h", b"h,h h", b"u@h", b"h/", b"h?", b"h#", b"h\\", b"h:8a", b"h:80:80", b"[::1", b"[x]")
    ]
    + [(host, False) for host in (b"\xc3\xa9", b"h%4", b"h%zz", b"[::1]h", b"<h>", b'"h"', b"h|", b"{h}", b"h^")]
)


@pytest.mark.parametrize(("host", "good"), HOSTS)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_host_is_a_host(host: bytes, good: bool, version: bytes, tokenize: Tokenizer) -> None:
    head = lines(line=b"GET / HTTP/" + version, host=b"Host: " + host)
    if good:
        assert read(head, tokenize).fields == [(b"host", host)]
    else:
        assert refusal(head, tokenize).status == 400


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_there_is_one_host_and_in_1_0_perhaps_none(count: int, version: bytes, tokenize: Tokenizer) -> None:
    head = lines(*[b"Host: h"] * count, line=b"GET / HTTP/" + version, host=None)
    if count == 1 or (count == 0 and version == b"1.0"):
        assert len(read(head, tokenize).fields) == count
    else:
        found = refusal(head, tokenize)
        assert found.status == 400
        assert "Host" in found.cause


def test_the_authority_of_the_target_replaces_the_host(tokenize: Tokenizer) -> None:
    assert read(lines(b"X: 1", line=b"GET http://Other:81/ HTTP/1.1"), tokenize).fields == [
        (b"host", b"Other:81"),
        (b"x", b"1"),
    ]
    assert refusal(lines(line=b"GET http://a/ HTTP/1.1", host=None), tokenize).cause == "missing Host"
    assert refusal(lines(line=b"GET http://a/ HTTP/1.1", host=b"Host: b b"), tokenize).cause == "invalid Host"


# -- Framing -----------------------------------------------------------------------------------------------------------

LENGTHS = {b"0": 0, b"5": 5, b"05": 5, b"0000000000000000005": 5, b"9223372036854775807": 2**63 - 1}
BAD_LENGTHS = [
    b"",
    b"+5",
    b"-5",
    b"5 5",
    b"5,5",
    b"5, 5",
    b"0x5",
    b"5.0",
    b"5_0",
    b"\xb2",
    b"five",
    b"1" * 20,
    b"0" * 20,
]


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("value", [*LENGTHS, *BAD_LENGTHS])
def test_a_length_is_up_to_nineteen_digits(value: bytes, version: bytes, tokenize: Tokenizer) -> None:
    head = lines(b"Content-Length: " + value, line=b"POST / HTTP/" + version)
    if value in LENGTHS:
        assert read(head, tokenize).length == LENGTHS[value]
    else:
        assert refusal(head, tokenize).status == 400


CODINGS = [
    b"chunked",
    b"Chunked",
    b"gzip",
    b"gzip, chunked",
    b"chunked, gzip",
    b"identity",
    b"",
    b"chunked,",
    b"xchunked",
]


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("lengths", [(), (b"5",), (b"5", b"5"), (b"5", b"6")])
def test_the_framing_of_a_body_is_one_length_or_one_chunked(
    lengths: tuple[bytes, ...], version: bytes, tokenize: Tokenizer
) -> None:
    for encodings in [(), *itertools.product(CODINGS), *itertools.product(CODINGS, repeat=2)]:
        fields = [b"Transfer-Encoding: " + value for value in encodings]
        fields += [b"Content-Length: " + value for value in lengths]
        for order in (fields, fields[::-1]):
            head = lines(*order, line=b"POST / HTTP/" + version)
            if not encodings and len(lengths) <= 1:
                assert read(head, tokenize).length == (5 if lengths else 0)
            elif version == b"1.1" and not lengths and [value.lower() for value in encodings] == [b"chunked"]:
                assert read(head, tokenize).length == CHUNKED
            else:
                assert refusal(head, tokenize).status == 400, head


# -- Connection, Upgrade, Expect ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "in_1_1", "in_1_0"),
    [
        ([], True, False),
        ([b"Connection: close"], False, False),
        ([b"Connection: CLOSE"], False, False),
        ([b"Connection: keep-alive"], True, True),
        ([b"Connection: Keep-Alive"], True, True),
        ([b"Connection: x,\tclose ,y"], False, False),
        ([b"Connection: x", b"Connection: close"], False, False),
        ([b"Connection: keep-alive, close"], False, False),
        ([b"Connection: close", b"Connection: keep-alive"], False, False),
        ([b"Connection: closed"], True, False),
        ([b"Connection: not-close"], True, False),
        ([b"Connection:"], True, False),
        ([b"Connection: ,,"], True, False),
        ([b"Keep-Alive: timeout=5"], True, False),
        ([b"Proxy-Connection: keep-alive"], True, False),
    ],
)
def test_persistence(fields: list[bytes], in_1_1: bool, in_1_0: bool, tokenize: Tokenizer) -> None:
    assert read(lines(*fields), tokenize).keep_alive is in_1_1
    assert read(lines(*fields, line=b"GET / HTTP/1.0"), tokenize).keep_alive is in_1_0


@pytest.mark.parametrize(
    ("fields", "upgrade"),
    [
        ([b"Upgrade: websocket"], b""),
        ([b"Connection: upgrade"], b""),
        ([b"Connection: upgrade", b"Upgrade: WebSocket"], b"websocket"),
        ([b"Connection: keep-alive, Upgrade", b"Upgrade: websocket"], b"websocket"),
        ([b"Upgrade: h2c", b"Connection: upgrade"], b"h2c"),
        ([b"Upgrade: websocket, h2c", b"Connection: upgrade"], b"websocket, h2c"),
    ],
)
def test_an_upgrade_is_what_connection_lists(fields: list[bytes], upgrade: bytes, tokenize: Tokenizer) -> None:
    head = read(lines(*fields), tokenize)
    assert (head.upgrade, head.is_websocket) == (upgrade, upgrade == b"websocket")
    head = read(lines(*fields, line=b"GET / HTTP/1.0"), tokenize)
    assert (head.upgrade, head.is_websocket) == (upgrade, False)  # it is to be ignored: RFC 9110 7.8


@pytest.mark.parametrize(
    ("value", "length", "version", "expected"),
    [
        (b"100-continue", b"5", b"1.1", True),
        (b"100-Continue", b"5", b"1.1", True),
        (b"100-continue", b"0", b"1.1", False),
        (b"100-continue", b"5", b"1.0", False),
        (b"something", b"5", b"1.1", 417),
        (b"", b"5", b"1.1", 417),
        (b"100-continue, x", b"5", b"1.1", 417),
    ],
)
def test_expectations(value: bytes, length: bytes, version: bytes, expected: bool | int, tokenize: Tokenizer) -> None:
    head = lines(b"Expect: " + value, b"Content-Length: " + length, line=b"PUT / HTTP/" + version)
    if isinstance(expected, bool):
        assert read(head, tokenize).expects_continue is expected
    else:
        assert refusal(head, tokenize).status == expected


@pytest.mark.parametrize(
    ("field", "forwarded"),
    [
        (b"X-Forwarded-For: a", True),
        (b"x-forwarded-anything: a", True),
        (b"Forwarded: for=a", True),
        (b"X-Forwarded: a", False),
        (b"X-Real-IP: a", False),
        (b"Via: a", False),
    ],
)
def test_a_proxys_header_is_noticed(field: bytes, forwarded: bool, tokenize: Tokenizer) -> None:
    assert read(lines(field, b"Accept: x"), tokenize).forwarded is forwarded


# -- Limits ------------------------------------------------------------------------------------------------------------


def at_limit(what: str, over: int) -> bytes:
    """A head that is `over` octets or fields over the limit of `SMALL`."""
    if what == "line":
        return lines(line=b"GET /" + b"a" * (60 - 14 + over) + b" HTTP/1.1")
    if what == "field":
        return lines(b"X: " + b"a" * (100 - 3 + over))
    if what == "fields":
        return lines(*[b"X: 1"] * (9 + over))
    head = lines(*[b"X: " + b"a" * 80] * 5)
    return lines(*[b"X: " + b"a" * 80] * 5, b"Y: " + b"a" * (500 - len(head) - 5 + over))


SMALL = Limits(line=60, field=100, head=500, fields=10)
STATUS = {"line": 414, "field": 431, "head": 431, "fields": 431}


@pytest.mark.parametrize("what", list(STATUS))
def test_a_limit_is_the_last_that_is_served(what: str, tokenize: Tokenizer) -> None:
    assert read(at_limit(what, 0), tokenize, SMALL)
    found = refusal(at_limit(what, 1), tokenize, SMALL)
    assert found.status == STATUS[what]
    assert str(getattr(SMALL, what)) in found.cause


@pytest.mark.parametrize("what", list(STATUS))
def test_a_head_at_its_limit_is_served_wherever_it_is_cut(what: str) -> None:
    head = at_limit(what, 0)
    for end in range(len(head)):
        check_unfinished(head[:end], SMALL)


@pytest.mark.parametrize("what", list(STATUS))
def test_a_head_over_its_limit_is_refused_before_its_end(what: str) -> None:
    """So that it is answered now and not after the time-out, whatever follows."""
    head = at_limit(what, 1)
    head = head[: len(head) - 4] if what in ("line", "field") else head[:-2] + b"Z: z"
    with pytest.raises(Refusal) as caught:
        check_unfinished(head, SMALL)
    assert caught.value.status == STATUS[what]


def test_the_defaults_are_the_documented_ones() -> None:
    assert Limits() == Limits(line=8190, field=16384, head=65536, fields=100)


@pytest.mark.parametrize(
    ("flood", "status"),
    [
        (b"A" * 8191, 414),
        (b"GET / HTTP/1.1\r\n" + b"A" * 16385, 431),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 101, 431),
        (b"GET / HTTP/1.1\r\n" + (b"X: " + b"a" * 10000 + b"\r\n") * 7, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"SSH-2.0-OpenSSH_9.6\r\n", 400),
        (b"PRI * HTTP/2.0\r\n", 400),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET / HTTP/1.1\rH", 400),
        (b"GET / HTTP/1.1\r\nX: 1\r\n y", 400),
        (b"GET / HTTP/1.1\r\nX: \x00", 400),
        (b"\r\n" * 5, 400),
    ],
)
def test_what_can_no_longer_become_a_head_is_refused_at_once(flood: bytes, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        check_unfinished(flood, Limits())
    assert caught.value.status == status


def test_a_few_empty_lines_before_a_request_are_skipped() -> None:
    for count in range(5):
        assert skip_empty_lines(b"\r\n" * count + b"GET") == 2 * count
    with pytest.raises(Refusal):
        skip_empty_lines(b"\r\n" * 5)
    assert skip_empty_lines(b"\n\r\n") == 0
    assert skip_empty_lines(b"") == 0


# -- Every prefix, every mutation --------------------------------------------------------------------------------------

names = st.sampled_from([b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Expect", b"X"])
values = st.sampled_from(
    [
        b"",
        b"h",
        b"h:80",
        b"5",
        b"5, 5",
        b"chunked",
        b"gzip",
        b"close",
        b"upgrade",
        b"websocket",
        b"100-continue",
        b"a b",
    ]
) | st.binary(max_size=6)
spaces = st.sampled_from([b"", b" ", b"\t", b" \t "])
fields = st.builds(lambda n, a, v, z: n + b":" + a + v + z, names, spaces, values, spaces)
targets = st.sampled_from([b"/", b"/a?b", b"*", b"http://x/y", b"//", b"/%41", b"x"]) | st.binary(max_size=5)
versions = st.sampled_from([b"1.1", b"1.0", b"1.2", b"2.0"])
request_lines = st.builds(
    lambda m, t, v: b"%b %b HTTP/%b" % (m, t, v),
    st.sampled_from([b"GET", b"POST", b"OPTIONS", b"get"]),
    targets,
    versions,
)
heads = st.builds(
    lambda line, host, some: b"\r\n".join([line, *([b"Host: h"] if host else []), *some, b"", b""]),
    request_lines,
    st.booleans(),
    st.lists(fields, max_size=5),
)


def verdict(head: bytes, tokenize: Tokenizer) -> Any:
    try:
        return read(head, tokenize, SMALL)
    except Refusal as found:
        return found.status


def cut_verdict(head: bytes, ends: list[int], limits: Limits) -> int | None:
    """The refusal that the beginnings of a head get, one after the other, as a connection would look at them."""
    seen = 0
    for end in sorted(ends):
        try:
            check_unfinished(head[:end], limits, seen)
        except Refusal as found:
            return found.status
        seen = end
    return None


@settings(max_examples=150, deadline=None)
@given(heads | st.sampled_from(list(STATUS)).map(lambda what: at_limit(what, 1)), st.data())
def test_segments_change_no_verdict_on_a_beginning(head: bytes, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(head) - 1))
    ends = [*data.draw(st.lists(st.integers(0, end), max_size=6)), end]
    whole = cut_verdict(head, [end], SMALL)
    cut = cut_verdict(head, ends, SMALL)
    # A flood may be seen earlier in pieces, with the cause that came first; a good beginning is good in any pieces.
    assert cut is not None or whole is None, (head, ends)


@settings(max_examples=150, deadline=None)
@given(heads)
def test_no_beginning_of_a_good_head_is_refused(head: bytes) -> None:
    head = head[: head.index(b"\r\n\r\n") + 4]
    if not isinstance(verdict(head, HttpToolsProtocol.tokenize), Head):
        return
    for end in range(len(head)):
        check_unfinished(head[:end], SMALL)
    assert cut_verdict(head, list(range(len(head))), SMALL) is None


# -- Memory ------------------------------------------------------------------------------------------------------------


def test_a_head_is_read_once() -> None:
    calls = []

    def tokenize(block: bytes) -> Any:
        calls.append(block)
        return HttpToolsProtocol.tokenize(block)

    reader = HeadReader(tokenize, Limits())
    first = reader.read(lines(b"X: 1"))
    assert reader.read(lines(b"X: 1")) is first
    assert reader.read(lines(b"X: 2")) is not first
    assert len(calls) == 2


def test_a_refused_head_is_not_remembered() -> None:
    reader = HeadReader(HttpToolsProtocol.tokenize, Limits())
    for _ in range(2):
        with pytest.raises(Refusal):
            reader.read(lines(b"Host: h"))
    assert not reader.remembered


def test_what_is_remembered_is_bounded_in_number_and_size() -> None:
    reader = HeadReader(HttpToolsProtocol.tokenize, Limits())
    reader.read(lines(b"X: " + b"a" * 4096))
    assert not reader.remembered
    for number in range(2000):
        reader.read(lines(line=b"GET /%d HTTP/1.1" % number))
        assert len(reader.remembered) <= 512
    assert lines(line=b"GET /1999 HTTP/1.1") in reader.remembered


@pytest.mark.parametrize(
    "field", [b"Authorization: Basic c2VjcmV0", b"COOKIE: a=b", b"Proxy-Authorization: x", b"X-Api-Key: 1"]
)
def test_a_head_with_credentials_is_remembered_for_its_connection_alone(field: bytes) -> None:
    reader = HeadReader(HttpToolsProtocol.tokenize, Limits())
    head = lines(b"Accept: */*", field)
    connection = object()
    found = reader.read(head, connection)
    assert found.confidential
    assert not reader.remembered
    assert reader.confided == {connection: (head, found)}
    assert reader.read(head) == found
    reader.read(lines(field, b"X: " + b"a" * 4096), object())
    assert reader.confided == {connection: (head, found)}
    for _ in range(2000):
        reader.read(head, object())
        assert len(reader.confided) <= 512


@settings(max_examples=150, deadline=None)
@given(st.lists(heads, min_size=1, max_size=20))
def test_a_remembered_head_is_what_a_fresh_read_gives(some: list[bytes]) -> None:
    reader = HeadReader(HttpToolsProtocol.tokenize, SMALL)
    for head in some + some:
        try:
            found: Any = reader.read(head)
        except Refusal as refused:
            found = refused.status
        assert found == verdict(head, HttpToolsProtocol.tokenize)
