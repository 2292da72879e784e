"""Who is killed because its time is over says first where it hangs, and with which request."""

from __future__ import annotations

import signal

from tests.processes.apps import PID
from tests.processes.helpers import DEADLINE, all_ready, connect, get, request, start

IMPORTS = """\
import os, time
os.write(1, b"importing\\n")

def a_model_that_never_loads():
    time.sleep(600)

a_model_that_never_loads()
"""
WAS_HERE = r"Worker \d \(pid \d+\) was here when its time was over"


def test_a_boot_that_hangs(uvicorn, tmp_path):
    server = start(uvicorn, "--timeout-worker-boot", "5", app=PID, workers=2)
    (tmp_path / "app.py").write_text(IMPORTS)
    server.signal(signal.SIGHUP)
    server.wait_for("Reload failed: .*was not ready within 5 s", DEADLINE)
    server.wait_for(WAS_HERE, DEADLINE)
    server.wait_for("in a_model_that_never_loads", DEADLINE)
    assert get(server, "/") == b"hello"
    assert server.stop(DEADLINE) == 0


def test_a_drain_that_hangs(uvicorn):
    server = start(uvicorn, "--timeout-graceful-shutdown", "1", "--timeout-worker-healthcheck", "0", app=PID, workers=2)
    with connect(server) as wire:
        wire.send(request("/block/600?x=1"))
        server.wait_for("blocks", DEADLINE)
        server.signal(signal.SIGHUP)
        server.wait_for("is killed: it did not end within 1 s", DEADLINE)
        server.wait_for(WAS_HERE + r"; requests inside it:\n  GET /block/600\?x=1 from 127", DEADLINE)
        server.wait_for('app.py", line', DEADLINE)
    server.wait_for("Reloaded: 2 workers of generation 2", DEADLINE)
    assert server.stop(DEADLINE) == 0


def test_a_shutdown_of_the_lifespan_that_hangs(uvicorn):
    app = PID.replace(
        'if message["type"] == "lifespan.shutdown":',
        'if "shutdown" in message["type"]: time.sleep(600)\n            if 1:',
        1,
    )
    server = start(uvicorn, "--manager", "--timeout-graceful-shutdown", "1", app=app, workers=1)
    all_ready(server, 1)
    server.signal(signal.SIGTERM)
    server.wait_for("is killed: it did not end within 5 s after its requests", DEADLINE)
    server.wait_for(WAS_HERE, DEADLINE)
    assert server.wait(DEADLINE) == 0
