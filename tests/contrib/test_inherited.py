"""A server stops while somebody else keeps its socket: what its clients are about to send is served."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from typing import Any

import pytest

from tests.support.wire import Wire

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_an_idle_connection_is_answered_once_more_after_term(uvicorn: Any, workers: int):
    """For a second: a test that comes later with its request, on a busy machine, has to begin again."""
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as kept:
            server = uvicorn("--fd", kept.fileno(), "--workers", workers, pass_fds=(kept.fileno(),))
            with Wire.connect(kept.getsockname()) as idle:
                assert idle.request(GET).keeps_alive
                began = time.monotonic()
                server.signal(signal.SIGTERM)
                time.sleep(0.3)
                with contextlib.suppress(OSError):
                    idle.send(GET)
                if in_time := time.monotonic() - began < 0.7:
                    answer = idle.read_response()
                    assert answer.status == 200
                    assert not answer.keeps_alive
            assert server.wait() in (0, -signal.SIGTERM)
        if in_time:
            return
    pytest.fail("five times this test could not send in time what it had to send")


def test_an_idle_connection_that_says_nothing_does_not_hold_up_the_end(uvicorn: Any):
    with socket.create_server(("127.0.0.1", 0)) as kept:
        server = uvicorn("--fd", kept.fileno(), "--timeout-keep-alive", "600", pass_fds=(kept.fileno(),))
        with Wire.connect(kept.getsockname()) as idle:
            idle.request(GET)
            server.signal(signal.SIGTERM)
            assert idle.is_closed() == "eof"
            assert server.wait() == -signal.SIGTERM
