"""Response heads: every octet that may and may not leave, and what the headers of an application mean for framing."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uvicorn.server import response as module
from uvicorn.server.response import (
    STATUS_LINES,
    ResponseHead,
    header_line,
    lists_close,
    refusal_text,
    response_head,
    short_response,
    status_line,
    without,
)


@pytest.fixture(autouse=True)
def _empty_tables() -> None:
    module._heads.clear()
    module._lines.clear()


def head(*headers: Any, status: Any = 200) -> ResponseHead:
    return response_head(status, headers)


# -- Status ------------------------------------------------------------------------------------------------------------


def test_every_status_that_is_final_has_a_line() -> None:
    reasons = {status.value: status.phrase for status in HTTPStatus}
    for status in range(200, 1000):
        assert status_line(status) == b"HTTP/1.1 %d %s\r\n" % (status, reasons.get(status, "").encode())
        assert head(status=status).start == status_line(status)
        assert head(status=status).status == status


@pytest.mark.parametrize("status", [0, 1, 99, 100, 101, 103, 199, 1000, 10000, -200])
def test_a_status_that_is_not_final_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match=str(status)):
        head(status=status)
    with pytest.raises(ValueError, match=str(status)):
        status_line(status)


@pytest.mark.parametrize("status", [None, "200", b"200", 299.5, True, [200], (200,)])
@pytest.mark.parametrize("remembered", [False, True])
def test_a_status_that_is_no_integer_is_refused(status: Any, remembered: bool) -> None:
    if remembered:
        head(status=200)
        response_head(200, ())
    with pytest.raises(TypeError):
        head(status=status)


@pytest.mark.parametrize("name", [b"set-cookie", b"Set-Cookie", b"x-auth-token"])
def test_credentials_are_not_remembered(name: bytes) -> None:
    module._heads.clear()
    module._lines.clear()
    for _ in range(2):
        assert head((b"a", b"1"), (name, b"session=secret")).block == b"a: 1\r\n%s: session=secret\r\n" % name.lower()
    assert not module._heads
    assert set(module._lines) == {(b"a", b"1")}


@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("status", [200.0, 299.0])
def test_a_whole_number_of_another_type_is_the_same_each_time(status: float, remembered: bool) -> None:
    module._heads.clear()
    if remembered:
        head(status=int(status))
    found = head(status=status)
    assert found == head(status=int(status))
    assert type(found.status) is int


def test_a_status_may_be_of_the_enumeration() -> None:
    assert head(status=HTTPStatus.NOT_FOUND).start == b"HTTP/1.1 404 Not Found\r\n"


# -- Header lines ------------------------------------------------------------------------------------------------------


def test_every_octet_of_a_name() -> None:
    for octet in range(256):
        name = b"x" + bytes([octet]) + b"Y"
        if re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]", bytes([octet])):
            assert header_line(name, b"v") == name.lower() + b": v\r\n"
        else:
            with pytest.raises(RuntimeError, match=r"^Invalid HTTP header name\."):
                header_line(name, b"v")


def test_every_octet_of_a_value() -> None:
    for octet in range(256):
        for value in (bytes([octet]), b"a" + bytes([octet]) + b"b"):
            if octet == 9 or 0x20 <= octet <= 0x7E or octet >= 0x80:
                assert header_line(b"x", value) == b"x: " + value + b"\r\n"
            else:
                with pytest.raises(RuntimeError, match=r"^Invalid HTTP header value\."):
                    header_line(b"x", value)


@pytest.mark.parametrize("name", [b"", b":", b" x", b"x ", b"x:", b":status", "é".encode()])
def test_a_name_that_is_no_token_is_refused(name: bytes) -> None:
    with pytest.raises(RuntimeError, match=r"^Invalid HTTP header name\."):
        head((name, b"v"))


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"\r\n", b"a\x00", b"a\r\n\r\n<html>"])
def test_a_value_cannot_write_the_rest_of_the_response(value: bytes) -> None:
    for name in (b"x", b"location", b"connection", b"transfer-encoding", b"date", b"server", b"content-length"):
        with pytest.raises(RuntimeError, match=r"^Invalid HTTP header value\."):
            head((name, value))


@pytest.mark.parametrize("pair", [("x", "v"), (b"x", "v"), ("x", b"v"), (b"x", 1), (b"x", None), (1, b"v")])
def test_what_is_not_bytes_is_refused(pair: Any) -> None:
    with pytest.raises(TypeError, match="bytes"):
        head(pair)


@pytest.mark.parametrize("pair", [(bytearray(b"x"), b"v"), (b"x", bytearray(b"v")), (bytearray(b"x"), bytearray(b"v"))])
@pytest.mark.parametrize("remembered", [False, True])
def test_what_can_change_is_taken_as_it_is_now(pair: Any, remembered: bool) -> None:
    pair = tuple(item[:] for item in pair)  # the next run has the same
    if remembered:
        head((b"x", b"v"))
    taken = head(pair)
    for item in pair:
        if isinstance(item, bytearray):
            item[:] = b"changed"
    assert taken.block == head((b"x", b"v")).block == b"x: v\r\n"


@pytest.mark.parametrize("pair", [(), (b"x",), (b"x", b"v", b"w"), b"x", 5, None])
def test_what_is_no_pair_is_refused(pair: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        head(pair)


@pytest.mark.parametrize("headers", [None, 5])
def test_headers_that_are_no_iterable_are_refused(headers: Any) -> None:
    with pytest.raises(TypeError):
        response_head(200, headers)


def test_headers_may_be_any_iterable_of_pairs() -> None:
    expected = b"a: 1\r\nb: 2\r\na: 1\r\n"
    pairs = [(b"A", b"1"), (b"b", b"2"), (b"A", b"1")]
    for headers in (pairs, tuple(pairs), [list(pair) for pair in pairs], iter(pairs), (pair for pair in pairs)):
        assert response_head(200, headers).block == expected


def test_a_list_that_changes_afterwards_changes_no_later_answer() -> None:
    headers = [[b"a", b"1"]]
    assert response_head(200, headers).block == b"a: 1\r\n"
    headers[0][1] = b"2"
    assert response_head(200, headers).block == b"a: 2\r\n"


# -- What headers mean -------------------------------------------------------------------------------------------------


def test_a_content_length_is_declared() -> None:
    found = head((b"a", b"1"), (b"Content-Length", b"12"), (b"b", b"2"))
    assert (found.length, found.block) == (12, b"a: 1\r\ncontent-length: 12\r\nb: 2\r\n")
    assert head().length == -1
    assert head((b"content-length", b"0")).length == 0


@pytest.mark.parametrize(
    "value", [b"", b" 5", b"5 ", b"+5", b"-5", b"5,5", b"5, 5", b"x", b"5.0", b"0x5", b"1" * 20, b"\xb2"]
)
def test_a_content_length_is_digits(value: bytes) -> None:
    with pytest.raises(RuntimeError, match=r"^Invalid HTTP header value\."):
        head((b"content-length", value))


def test_two_content_lengths_are_one_or_an_error() -> None:
    found = head((b"content-length", b"5"), (b"Content-Length", b"5"))
    assert (found.length, found.block) == (5, b"content-length: 5\r\n")
    with pytest.raises(RuntimeError, match=r"^Invalid HTTP header value\."):
        head((b"content-length", b"5"), (b"content-length", b"6"))


@pytest.mark.parametrize("coding", [b"chunked", b"gzip", b"identity", b"gzip, chunked", b""])
def test_a_transfer_encoding_is_the_servers_to_say(coding: bytes) -> None:
    assert head((b"Transfer-Encoding", coding), (b"a", b"1")).block == b"a: 1\r\n"
    for order in (1, -1):
        found = head(*[(b"content-length", b"5"), (b"transfer-encoding", coding), (b"a", b"1")][::order])
        assert (found.length, found.block) == (-1, b"a: 1\r\n")


@pytest.mark.parametrize("status", [200, 204, 205, 304, 404])
def test_what_has_no_body_by_its_status(status: int) -> None:
    found = head((b"content-length", b"5"), (b"a", b"1"), status=status)
    assert found.bodiless is (status in (204, 304))
    if status == 204:  # RFC 9110 8.6
        assert (found.length, found.block) == (-1, b"a: 1\r\n")
    else:
        assert (found.length, found.block) == (5, b"content-length: 5\r\na: 1\r\n")


@pytest.mark.parametrize(
    ("value", "close", "block"),
    [
        (b"close", True, b""),
        (b"CLOSE", True, b""),
        (b" close ", True, b""),
        (b"x, Close", True, b""),
        (b"keep-alive", False, b""),
        (b"Keep-Alive", False, b""),
        (b"upgrade", False, b"connection: upgrade\r\n"),
        (b"closed", False, b"connection: closed\r\n"),
        (b"", False, b"connection: \r\n"),
    ],
)
def test_a_connection_header(value: bytes, close: bool, block: bytes) -> None:
    found = head((b"Connection", value))
    assert (found.close, found.block) == (close, block)
    assert lists_close(value) is close


def test_date_and_server_of_the_application_replace_the_defaults() -> None:
    found = head((b"Date", b"today"), (b"a", b"1"), (b"SERVER", b"mine"))
    assert found.replaces == {b"date", b"server"}
    assert found.block == b"date: today\r\na: 1\r\nserver: mine\r\n"
    assert head((b"a", b"1")).replaces == frozenset()
    defaults = [(b"date", b"now"), (b"Server", b"uvicorn"), (b"x", b"y")]
    assert without(defaults, found.replaces) == b"x: y\r\n"
    assert without(defaults, frozenset({b"server"})) == b"date: now\r\nx: y\r\n"


# -- The server's own answers ------------------------------------------------------------------------------------------


def test_a_short_response_is_whole() -> None:
    assert short_response(503, b"Busy", b"date: now\r\n", b"retry-after: 1\r\n") == (
        b"HTTP/1.1 503 Service Unavailable\r\ndate: now\r\ncontent-type: text/plain; charset=utf-8\r\n"
        b"content-length: 4\r\nretry-after: 1\r\nconnection: close\r\n\r\nBusy"
    )


@pytest.mark.parametrize("status", [400, 408, 413, 414, 417, 431, 503])
def test_a_refusal_says_its_reason_and_a_400_what_it_always_said(status: int) -> None:
    text = b"Invalid HTTP request received." if status == 400 else HTTPStatus(status).phrase.encode()
    assert refusal_text(status) == text


def test_only_final_statuses_have_prepared_lines() -> None:
    assert min(STATUS_LINES) == 200
    assert {type(status) for status in STATUS_LINES} == {int}


# -- Memory ------------------------------------------------------------------------------------------------------------

pairs = st.tuples(
    st.sampled_from(
        [b"a", b"A", b"content-length", b"Content-Length", b"connection", b"transfer-encoding", b"date", b""]
    ),
    st.sampled_from([b"", b"1", b"5", b"close", b"chunked", b"a\nb", b"keep-alive"]),
)


def outcome(status: int, headers: Any) -> Any:
    try:
        return response_head(status, headers)
    except (RuntimeError, ValueError) as error:
        return type(error), str(error)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([99, 200, 204, 304]), st.lists(pairs, max_size=3)), max_size=15))
def test_a_remembered_head_is_what_a_fresh_one_would_be(asked: Any) -> None:
    for status, headers in asked + asked:
        remembered = outcome(status, headers)
        kept = dict(module._heads), dict(module._lines)
        module._heads.clear()
        module._lines.clear()
        assert outcome(status, headers) == remembered
        module._heads.update(kept[0])
        module._lines.update(kept[1])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=6)), max_size=4))
def test_whatever_is_accepted_is_lines_of_fields_and_nothing_else(headers: Any) -> None:
    found = outcome(200, headers)
    if isinstance(found, ResponseHead):
        assert re.fullmatch(rb"([!#$%&'*+.^_`|~0-9a-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n)*", found.block)
        assert found.block.count(b"\r\n") <= len(headers)


def test_what_is_remembered_is_bounded_in_number_and_size() -> None:
    for number in range(3000):
        head((b"x", b"%d" % number))
        assert len(module._heads) <= 1024
        assert len(module._lines) <= 1024
    module._heads.clear()
    module._lines.clear()
    head((b"x", b"a" * 4096))
    assert not module._heads
    assert not module._lines


def test_an_invalid_line_is_not_remembered() -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError):
            head((b"x", b"a\nb"))
    assert not module._lines
    assert not module._heads
