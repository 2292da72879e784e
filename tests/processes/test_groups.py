"""A signal to the whole process group, as terminals, `timeout` and supervisor's stopasgroup send it."""

from __future__ import annotations

import os
import re
import signal
from contextlib import ExitStack

import pytest

from tests.processes.apps import PID
from tests.processes.helpers import connect, request
from tests.support.processes import Running

TROUBLE = re.compile(r"WARNING|ERROR|Traceback|replacing|exited:", re.MULTILINE)


def judge(server: Running, workers: int) -> None:
    assert server.wait(60) == 0, server.log
    assert len(re.findall("Started server process", server.log)) == workers, server.log
    assert not TROUBLE.search(server.log), server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_are_finished_and_nobody_is_replaced(uvicorn, number):
    server = uvicorn("--workers", "3", "--no-access-log", app=PID)
    server.wait_for("Application startup complete", 60, count=3)
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(server)) for _ in range(9)]
        for wire in wires:
            wire.send(request("/sleep/1"))
        server.wait_for("sleeps", 60, count=9)
        os.killpg(server.pid, number)
        for wire in wires:
            assert wire.read_response().status == 200
    judge(server, 3)


def test_workers_that_hear_of_it_long_before_the_master(uvicorn):
    """The master is held, as a busy machine may hold it, until all workers have ended."""
    server = uvicorn("--workers", "3", "--no-access-log", app=PID)
    server.wait_for("Application startup complete", 60, count=3)
    server.signal(signal.SIGSTOP)
    try:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait_for("Finished server process", 60, count=3)
    finally:
        server.signal(signal.SIGCONT)
    judge(server, 3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_in_the_middle_of_the_start(uvicorn, number):
    source = "import os, time\nos.write(1, b'importing\\n')\ntime.sleep(60)\n"
    server = uvicorn("--workers", "2", app=source)
    server.wait_for("importing", 60, count=2)
    os.killpg(server.pid, number)
    judge(server, 0)


def test_at_the_very_beginning(uvicorn):
    """No template is loaded, or just one: it must not die of the signal, or the start would seem to have failed."""
    server = uvicorn("--workers", "2", app=PID, ready="Started parent process")
    os.killpg(server.pid, signal.SIGTERM)
    assert server.wait(60) == 0, server.log
    assert not TROUBLE.search(server.log), server.log
