"""The child that tries new code before the master becomes it."""

import os
import sys
import time

import pytest

from uvicorn.manager import upgrade
from uvicorn.manager.loop import Loop


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    for process in list(loop.processes()):
        process.kill(9)
        process.wait()
    loop.close()


def tried(loop, monkeypatch, program):
    """Whether the master would become this code, once its child has ended."""
    monkeypatch.setattr(upgrade, "PREFLIGHT", program)
    became = []
    preflight = upgrade.Preflight(loop, dict(os.environ), lambda: became.append(True))
    preflight.begin([[], []], {})
    deadline = time.monotonic() + 60
    while list(loop.processes()):
        assert time.monotonic() < deadline, "the child does not end"
        preflight.tick(time.monotonic())
        loop.wait(min(preflight.wake_at, deadline))
    return bool(became)


def test_code_that_starts_is_what_the_master_becomes(loop, monkeypatch):
    assert tried(loop, monkeypatch, "pass")


def test_code_that_does_not_start_is_not(loop, monkeypatch, caplog):
    assert not tried(loop, monkeypatch, "raise SystemExit(7)")
    assert "Cannot upgrade: the new code does not start (exit code 7); going on as before" in caplog.text


def test_code_that_hangs_is_given_up(loop, monkeypatch, caplog):
    monkeypatch.setattr(upgrade, "TIME_TO_START", 0.2)
    assert not tried(loop, monkeypatch, "import time; time.sleep(600)")
    assert "Cannot upgrade: the new code does not start (not within 0.2 s); going on as before" in caplog.text


def test_an_interpreter_that_is_gone_changes_nothing(loop, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert not tried(loop, monkeypatch, "pass")
    upgrade.execute({"fds": []}, [[], []], os.environ)
    assert caplog.text.count("Cannot upgrade: [Errno 2] No such file or directory: '/no/such/python'; going on") == 2
