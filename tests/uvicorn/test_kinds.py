from __future__ import annotations

import pytest

from uvicorn.kinds import (
    ADDRESS,
    BOOLEAN,
    COMMA_LIST,
    FORWARDED_HEADERS,
    HEADER,
    MODE,
    NUMBER,
    SECONDS,
    TEXT,
    WORKERS,
    Inherited,
    Kind,
    Tcp,
    Unix,
    choice,
    importable,
    integer,
    parse_address,
)

TAKEN = [
    (integer(0, 65535), "0", 0),
    (integer(0, 65535), "65535", 65535),
    (integer(0, 65535), 8000, 8000),
    (integer(1), " 7 ", 7),
    (SECONDS, "5", 5),
    (SECONDS, "0", 0),
    (SECONDS, "0.25", 0.25),
    (SECONDS, 1.5, 1.5),
    (NUMBER, "-1", -1),
    (BOOLEAN, "ON", True),
    (BOOLEAN, "no", False),
    (BOOLEAN, "1", True),
    (BOOLEAN, False, False),
    (TEXT, "", ""),
    (choice("auto", "on"), "on", "on"),
    (importable("auto"), "auto", "auto"),
    (importable("auto"), "my.module:Class.attribute", "my.module:Class.attribute"),
    (importable("auto", unlisted=("zttp",)), "zttp", "zttp"),
    (WORKERS, "0", 1),
    (WORKERS, "4", 4),
    (WORKERS, "auto", "auto"),
    (MODE, "660", 0o660),
    (MODE, "0o600", 0o600),
    (MODE, 0o600, 0o600),
    (COMMA_LIST, "a,b", "a,b"),
    (COMMA_LIST, ["a", "b"], "a,b"),
    (HEADER, "Name:Value", ("Name", "Value")),
    (HEADER, "Name: a:b", ("Name", " a:b")),
    (HEADER, "Name:", ("Name", "")),
    (HEADER, ["Name", "Value"], ("Name", "Value")),
    (ADDRESS, "[::1]:80", "[::1]:80"),
]

REFUSED = [
    (integer(0, 65535), "65536", "an integer from 0 to 65535"),
    (integer(0, 65535), "-1", "an integer from 0 to 65535"),
    (integer(0, 65535), "80.0", "an integer from 0 to 65535"),
    (integer(0, 65535), True, "an integer from 0 to 65535"),
    (integer(0, 65535), 1.0, "an integer from 0 to 65535"),
    (integer(1), "0", "an integer of at least 1"),
    (integer(1), "", "an integer of at least 1"),
    (SECONDS, "-0.1", "a number of seconds, 0 or more"),
    (SECONDS, "nan", "a number of seconds, 0 or more"),
    (SECONDS, "inf", "a number of seconds, 0 or more"),
    (SECONDS, "5s", "a number of seconds, 0 or more"),
    (SECONDS, True, "a number of seconds, 0 or more"),
    (BOOLEAN, "maybe", "true or false"),
    (BOOLEAN, 1, "true or false"),
    (TEXT, 3, "text"),
    (choice("auto", "on"), "ON", "one of auto, on"),
    (choice("auto", "on"), ["on"], "one of auto, on"),
    (importable("auto"), "x", "one of auto or module:attribute"),
    (importable("auto"), "x:", "one of auto or module:attribute"),
    (importable("auto"), ":x", "one of auto or module:attribute"),
    (WORKERS, "-1", "an integer of at least 1, or auto"),
    (WORKERS, "many", "an integer of at least 1, or auto"),
    (MODE, "888", "permissions in octal, as 660"),
    (MODE, "1777", "permissions in octal, as 660"),
    (MODE, 660, "permissions in octal, as 660"),
    (COMMA_LIST, [1], "text, separated by commas"),
    (HEADER, "Name", "Name:Value without control characters, not Content-Length or Transfer-Encoding"),
    (HEADER, ":Value", "Name:Value without control characters, not Content-Length or Transfer-Encoding"),
    (HEADER, "Na me:Value", "Name:Value without control characters, not Content-Length or Transfer-Encoding"),
    (HEADER, "Name:a\r\nX: y", "Name:Value without control characters, not Content-Length or Transfer-Encoding"),
    (HEADER, "Name:\u20ac", "Name:Value without control characters, not Content-Length or Transfer-Encoding"),
    (HEADER, "Content-Length:3", "Name:Value without control characters, not Content-Length or Transfer-Encoding"),
    (
        HEADER,
        "transfer-encoding: chunked",
        "Name:Value without control characters, not Content-Length or Transfer-Encoding",
    ),
    (HEADER, ["Name"], "Name:Value without control characters, not Content-Length or Transfer-Encoding"),
    (ADDRESS, "8000", "host:port, [v6]:port, unix:PATH or fd://N"),
    (ADDRESS, "::1:8000", "host:port, [v6]:port, unix:PATH or fd://N"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), TAKEN)
def test_a_good_value_is_taken(kind: Kind, value: object, expected: object):
    found = kind.parse(value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(("kind", "value", "expected"), TAKEN)
def test_a_parsed_value_parses_to_itself(kind: Kind, value: object, expected: object):
    assert kind.parse(kind.parse(value)) == expected


@pytest.mark.parametrize(("kind", "value", "expected"), REFUSED)
def test_a_bad_value_is_refused_with_what_was_expected_and_what_came(kind: Kind, value: object, expected: str):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below, whole)
        kind.parse(value)
    assert str(caught.value) == f"expected {expected}, got {value!r}"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", Tcp("127.0.0.1", 8000)),
        ("tcp://0.0.0.0:0", Tcp("0.0.0.0", 0)),
        ("localhost:1", Tcp("localhost", 1)),
        (":8000", Tcp("", 8000)),
        ("[::1]:8000", Tcp("::1", 8000)),
        ("[fe80::1%eth0]:65535", Tcp("fe80::1%eth0", 65535)),
        ("unix:/run/app.sock", Unix("/run/app.sock")),
        ("unix:///run/app.sock", Unix("/run/app.sock")),
        ("unix:app.sock", Unix("app.sock")),
        ("fd://0", Inherited(0)),
        ("fd://17", Inherited(17)),
    ],
)
def test_an_address_is_host_and_port_or_a_path_or_a_descriptor(text: str, address: object):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8000",
        "host",
        "host:",
        "host:x",
        "host:-1",
        "host:65536",
        "host:8000 ",
        "::1:80",
        "[::1]",
        "[::1:80",
        "[host]:80",
        "unix:",
        "unix:/a\0b",
        "fd://",
        "fd://x",
        "fd://-1",
    ],
)
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(ValueError):  # noqa: PT011 (any text: ADDRESS words it)
        parse_address(text)


def test_forwarded_headers_are_a_list_of_known_names():
    assert FORWARDED_HEADERS.parse(" X-Forwarded-For, forwarded") == "x-forwarded-for,forwarded"
    assert FORWARDED_HEADERS.parse(["forwarded"]) == "forwarded"
    with pytest.raises(ValueError, match=r"^expected some of x-forwarded-for, .*, got 'x-real-ip'$"):
        FORWARDED_HEADERS.parse("x-real-ip")
