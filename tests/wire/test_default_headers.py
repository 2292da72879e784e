"""The headers that every answer begins with, and the options that change them."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

import pytest

from tests.support import Running

from .conftest import Servers
from .harness import GET, ask, assert_refused, body, connect, get, sends, start

DATE = re.compile(rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [JFMASOND][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")


def test_the_date_is_now_and_goes_on(server: Running) -> None:
    dates = []
    with connect(server) as wire:
        deadline = time.monotonic() + 60
        while len(set(dates)) < 3:
            assert time.monotonic() < deadline
            before = time.time()
            date = wire.request(GET).get("date")
            assert date is not None
            assert DATE.fullmatch(date)  # RFC 9110 5.6.7
            # The text is made once a second; a server that is held up may be late with the next one.
            assert before - 10 < parsedate_to_datetime(date.decode()).timestamp() <= time.time()
            dates.append(date)
            time.sleep(0.1)


def names(server: Running) -> list[bytes]:
    return [name for name, _ in ask(server, GET).headers]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [b"date", b"server"]),
        (("--no-date-header",), [b"server"]),
        (("--no-server-header",), [b"date"]),
        (("--no-date-header", "--no-server-header"), []),
        (("--header", "X-One:1", "--header", "X-Two: 2"), [b"date", b"server", b"x-one", b"x-two"]),
    ],
)
def test_options_choose_them(parser: str, servers: Servers, options: tuple[str, ...], expected: list[bytes]) -> None:
    assert names(servers(parser, *options)) == [*expected, b"content-length"]


def test_a_server_header_of_ones_own(parser: str, servers: Servers) -> None:
    server = servers(parser, "--header", "Server:mine", "--header", "X: y")
    response = ask(server, GET)
    assert (response.get("server"), response.get("x")) == (b"mine", b"y")
    response = ask(server, get(sends(start(200, (b"server", b"app")), body(b"ok"))))
    assert (response.get("server"), response.get("x")) == (b"app", b"y")


def test_a_date_header_of_ones_own(parser: str, servers: Servers) -> None:
    response = ask(servers(parser, "--header", "Date:today"), GET)
    assert [value for name, value in response.headers if name == b"date"] == [b"today"]


def test_refusals_and_failures_carry_them_too(parser: str, servers: Servers) -> None:
    server = servers(parser, "--header", "X-One:1", "--header", "X-Two: 2")
    with connect(server) as wire:
        wire.send(b"GET / HTTP/1.1\r\n\r\n")
        response = assert_refused(wire)
        assert (response.get("x-one"), response.get("x-two")) == (b"1", b"2")
    response = ask(server, get(sends({"type": "nonsense"})))
    assert (response.status, response.get("x-one")) == (500, b"1")
