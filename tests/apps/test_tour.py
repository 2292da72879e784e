"""The bundled example, as `make serve` runs it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.support.processes import Running, free_port
from tests.support.wire import Wire

ROOT = Path(__file__).parents[2]
CLOSE = b"Host: localhost\r\nConnection: close\r\n"


@pytest.fixture
def tour():
    command = ["examples.tour:app", "--workers", "2", "--timeout-graceful-shutdown", "3", "--port", free_port()]
    with Running(*command, cwd=ROOT) as running:
        running.wait_for("Application startup complete", count=2)
        yield running


def test_the_page_the_upload_and_who_answers(tour):
    with Wire.connect(tour) as wire:
        page = wire.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert page.status == 200
        assert b"It <span>runs</span>" in page.body
        body = b"x" * 3_000_000
        wire.send(b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        report = json.loads(wire.read_response().body)
        assert report["size"] == len(body)
        assert report["sha256"] == hashlib.sha256(body).hexdigest()
        who = wire.request(b"GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert json.loads(who.body)["pid"] in tour.descendants()
        assert wire.is_closed() == "eof"


def test_a_stream_that_is_open_at_the_stop_ends_in_order(tour):
    with Wire.connect(tour) as wire:
        wire.send(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        begun = b""
        while b"data: " not in begun:
            begun += wire.read_some()
        assert tour.stop() == 0
        rest = wire.read_until_close()
    assert b"event: over" in rest
    assert rest.endswith(b"0\r\n\r\n")


def test_a_listener_that_leaves_is_no_error(tour):
    with Wire.connect(tour) as wire:
        wire.send(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire.read_some()
    assert tour.stop() == 0
    assert not re.search("ERROR|Traceback", tour.log), tour.log
