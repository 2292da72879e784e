"""What the log says of a refusal: one line with its cause and its client, never more than a few a second."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import Running

from .harness import GET, ask, assert_refused, connect, get, port_of

HERE = Path(__file__).parent


@pytest.fixture
def server(parser: str, uvicorn: Callable[..., Running]) -> Running:
    """A server whose log holds nothing but these refusals; with its access log."""
    return uvicorn("app:app", "--http", parser, cwd=HERE)


def refuse(server: Running, raw: bytes, status: int = 400) -> int:
    with connect(server) as wire:
        wire.send(raw)
        assert_refused(wire, status)
        return port_of(wire)


def test_each_refusal_is_one_warning_with_cause_and_client(server: Running) -> None:
    for raw, cause in [
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "duplicate Host"),
        (b"GET / HTTP/1.1\r\n\r\n", "(?i).*host"),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", "(?i).*version"),
        (get(fields=b"Content-Length: x\r\n"), "(?i).*content-length"),
        (get(fields=b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), "(?i).*transfer-encoding"),
        (get(fields=b"Transfer-Encoding: chunked\r\n") + b"zz\r\n", "(?i).*chunk"),
    ]:
        flags = "(?i)" if cause.startswith("(?i)") else ""
        port = refuse(server, raw)
        client = rf"127\.0\.0\.1:{port}"
        cause = cause.removeprefix("(?i)")
        server.wait_for(rf"{flags}WARNING: +Invalid HTTP request received\. \({client}: {cause}.*\)$")
        assert server.log.count(f"(127.0.0.1:{port}:") == 1
    assert "Traceback" not in server.log


def test_limits_are_warnings_that_name_the_limit(server: Running) -> None:
    port = refuse(server, get(b"/" + b"a" * 9_000), 414)
    assert re.search(r"WARNING: .*8190.*", server.wait_for(rf"^.*127\.0\.0\.1:{port}.*$")[0])
    port = refuse(server, get(fields=b"X: y\r\n" * 200), 431)
    assert re.search(r"WARNING: .*100 .*", server.wait_for(rf"^.*127\.0\.0\.1:{port}.*$")[0])
    port = refuse(server, get(fields=b"Expect: x\r\n"), 417)
    assert re.search(r"WARNING: .*(?i:expect).*", server.wait_for(rf"^.*127\.0\.0\.1:{port}.*$")[0])


def test_a_flood_of_refusals_is_no_flood_of_lines(server: Running) -> None:
    began = time.monotonic()
    for _ in range(400):
        refuse(server, b"GET / HTTP/1.1\r\n\r\n")
    assert ask(server, GET).status == 200
    server.wait_for('"GET / HTTP/1.1" 200')
    server.wait_for("Invalid HTTP request received.")
    lines = server.log.count("Invalid HTTP request received.")
    assert lines <= min(10 * (2 + int(time.monotonic() - began)), 400)


def test_a_refusal_is_no_line_of_the_access_log(server: Running) -> None:
    refuse(server, b"GET /refused HTTP/1.1\r\n\r\n")
    assert ask(server, get(b"/served")).status == 200
    server.wait_for(r'127\.0\.0\.1:\d+ - "GET /served HTTP/1\.1" 200 OK')
    assert "/refused" not in server.log


FORGERIES = [
    b"GET /\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n",
    b"G\x1b[31mET / HTTP/1.1\r\nHost: a\r\n\r\n",
    get(fields=b"X\x1b[31m: y\r\n"),
    get(fields=b"X: \x1b[31m\r\n"),
    get(fields=b"X: y\nWARNING:  forged\r\n"),
    b"GET / HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\xc2\x85b\r\n\r\n",
    get(fields=b"Content-Length: \xc2\x85\xe2\x80\xa8\r\n"),
    get(fields=b"Transfer-Encoding: x\xe2\x80\xa8forged\r\n"),
    get(fields=b"Transfer-Encoding: chunked\r\n") + b"1;\x1b[31m\r\n",
]


def test_nothing_that_the_client_sent_reaches_the_log_raw(server: Running) -> None:
    for raw in FORGERIES:
        before = len(server.log)
        refuse(server, raw)
        server.wait_for("Invalid HTTP request received", after=before)
        new = server.log[before:]
        assert "\x1b" not in new
        assert new.isascii()
        assert "forged" not in new
        assert len([line for line in new.splitlines() if not line.startswith("INFO:     127.0.0.1:")]) == 1, new


def test_nothing_that_the_client_sent_reaches_the_access_log_raw(server: Running) -> None:
    target = b"/a%0d%0aINFO:%20forged%1b%5b31m%e2%80%a8?b%0d%0a%1b"
    assert ask(server, get(target)).status == 200
    server.wait_for('"GET /a.* HTTP/1.1" 200 OK')
    new = server.log.partition("Press CTRL+C to quit)\n")[2]
    assert "\x1b" not in new
    assert new.isascii()
    assert len(new.splitlines()) == 1, new
