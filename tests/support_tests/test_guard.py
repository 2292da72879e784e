"""Whoever runs tests ends, in whatever way, and what was started ends too."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import Running, is_alive

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard needs Linux")

STARTS = """\
import signal, sys, time
from contextlib import ExitStack
from pathlib import Path
from tests.support.processes import Running

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
SLEEPS = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(600)"
SOURCES = [
    SLEEPS,
    "import os; os.setsid() if os.fork() == 0 else os._exit(0); " + SLEEPS,
    "try: import setproctitle; setproctitle.setproctitle('x' * 10000)\\nexcept ImportError: pass\\n" + SLEEPS,
]
with ExitStack() as stack:
    started = [stack.enter_context(Running(one, cwd=Path.cwd(), command=[sys.executable, "-c"])) for one in SOURCES]
    print("started", *(running.wait_for(r"pid (\\d+)")[1] for running in started), flush=True)
    time.sleep(600)
"""
"""Commands of three kinds: one that stays as it is, one in a session that it began, one without its environment."""


def wait_for_ends(pids: list[int], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while left := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < deadline, f"of {pids} {left} still run after {timeout} s"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_whoever_started_it(number: int) -> None:
    with Running(STARTS, cwd=ROOT, command=[sys.executable, "-c"]) as runner:
        pids = [int(pid) for pid in runner.wait_for(r"started (\d+) (\d+) (\d+)$").groups()]
        assert all(map(is_alive, pids))
        runner.signal(number)
        wait_for_ends(pids)
        runner.wait()


def test_the_end_of_a_fork_is_not_the_end(tmp_path: Path) -> None:
    with Running("import time; time.sleep(600)", cwd=tmp_path, command=[sys.executable, "-c"]) as running:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert is_alive(running.pid)
