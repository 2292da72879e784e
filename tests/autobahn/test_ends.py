"""The runner is stopped in the middle: its server and its player end with it."""

from __future__ import annotations

import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import Running

pytest.importorskip("kosoku", reason="the package kosoku plays the cases")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="who is killed is cleared away on Linux only")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_runner_that_is_stopped_leaves_no_server(number: int) -> None:
    with Running("--core", cwd=Path(__file__).parents[2], command=[sys.executable, "-m", "tests.autobahn"]) as runner:
        port = int(runner.wait_for(r" at ws://127.0.0.1:(\d+)$")[1])
        socket.create_connection(("127.0.0.1", port), 60).close()
        runner.signal(number)
        assert runner.wait() == (-number if number == signal.SIGKILL else 128 + number), runner.log
        deadline = time.monotonic() + 60
        while listens(port):
            assert time.monotonic() < deadline, f"the server on port {port} still listens a minute later"
            time.sleep(0.05)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 60).close()
    except OSError:
        return False
    return True
