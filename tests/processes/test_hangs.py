"""An event loop that does not move is seen, told with its stack and its requests, and replaced before it is killed."""

from __future__ import annotations

import os
import signal
import time

from tests.processes.apps import PID
from tests.processes.helpers import all_ready, get, request, until, worker_pids
from tests.support.wire import Wire

SPIN = PID.replace(
    'elif path == "/stream":',
    'elif path == "/gil":\n        import re\n        re.match("(a+)+$", "a" * 36 + "b")\n    elif path == "/stream":',
)
"""A regular expression that holds the interpreter's lock for minutes."""


def start(uvicorn, *args, app=PID, workers=2, **options):
    server = uvicorn("--workers", workers, "--no-access-log", *args, app=app, **options)
    all_ready(server, workers)
    return server


def send_to_one(server, path):
    """Send a request; return its connection and the pid of the worker that got it."""
    wire = Wire.connect(server.address, timeout=30)
    pid = int(wire.request(request("/pid")).body)
    wire.send(request(path))
    return wire, pid


def test_a_blocked_loop_is_replaced_with_its_stack_and_request_in_the_log(uvicorn):
    server = start(uvicorn, "--timeout-worker-healthcheck", "1")
    wire, pid = send_to_one(server, "/block/60?x=1")
    with wire:
        server.wait_for(rf"Worker \d \(pid {pid}\) is replaced: its event loop has not moved for", timeout=10)
        server.wait_for(rf"Worker \d \(pid {pid}\) exited: killed by SIGKILL", timeout=10)
    assert "  GET /block/60?x=1 from 127.0.0.1:" in server.log
    assert 'app.py", line' in server.log
    all_ready(server, 3)
    log = server.log
    assert log.rindex("Application startup complete") < log.index("exited: killed by SIGKILL")
    assert len(worker_pids(server, 2)) == 2
    assert get(server, "/") == b"hello"


def test_a_c_call_that_holds_the_interpreter_is_seen_and_named(uvicorn):
    server = start(uvicorn, "--timeout-worker-healthcheck", "1", app=SPIN)
    wire, pid = send_to_one(server, "/gil")
    with wire:
        server.wait_for(rf"Worker \d \(pid {pid}\) exited: killed by SIGKILL", timeout=12)
    assert "in match" in server.log or "re/__init__.py" in server.log
    worker_pids(server, 2)


def test_others_serve_on_while_one_is_blocked(uvicorn):
    server = start(uvicorn, "--timeout-worker-healthcheck", "1")
    wire, _ = send_to_one(server, "/block/60")
    with wire:
        time.sleep(0.3)  # a connection that it takes in the same turn of its loop is inside it, and lost with it
        began = time.monotonic()
        answered = 0
        while "killed by SIGKILL" not in server.log and time.monotonic() - began < 12:
            assert get(server, "/") == b"hello"
            answered += 1
            time.sleep(0.02)
    assert answered > 20


def test_a_long_block_that_is_allowed_is_told_and_not_killed(uvicorn):
    server = start(uvicorn)
    wire, pid = send_to_one(server, "/block/8")
    with wire:
        server.wait_for(rf"Worker \d \(pid {pid}\) has an event loop that has not moved for", timeout=12)
        assert wire.read_response(timeout=20).status == 200
    assert pid in worker_pids(server, 2)


def test_a_loop_that_hangs_while_it_drains_is_killed(uvicorn):
    server = start(uvicorn, "--timeout-worker-healthcheck", "1")
    wire, pid = send_to_one(server, "/block/60")
    with wire:
        server.signal(signal.SIGHUP)
        server.wait_for(rf"Worker \d \(pid {pid}\) exited: killed by SIGKILL", timeout=20)
        server.wait_for("Reloaded: 2 workers of generation 2", timeout=20)
    worker_pids(server, 2)


def test_a_stopped_process_is_reported_and_left_alone(uvicorn):
    server = start(uvicorn, "--timeout-worker-healthcheck", "1")
    pid = worker_pids(server, 2)[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        server.wait_for(rf"Worker \d \(pid {pid}\) was stopped \(SIGSTOP, or a debugger\)", timeout=10)
        time.sleep(1.5)
        assert pid in server.descendants()
        assert "is replaced" not in server.log
    finally:
        os.kill(pid, signal.SIGCONT)
    server.wait_for(rf"Worker \d \(pid {pid}\) runs again", timeout=10)


def test_workers_at_their_request_limit_are_replaced_without_a_gap(uvicorn):
    from tests.processes.helpers import judge, load

    server = start(uvicorn, "--limit-max-requests", "300", "--limit-max-requests-jitter", "50", workers=3)
    with load(server) as clients:
        server.wait_for("is to be replaced: it has answered", count=5, timeout=40)
        judge(clients, gap=1.0)
    until(lambda: len(worker_pids(server)) == 3, "three workers are left", 20, server)


def test_workers_at_the_end_of_their_life_are_replaced_without_a_gap(uvicorn):
    from tests.processes.helpers import judge, load

    server = start(uvicorn, "--limit-worker-lifetime", "1.5", "--limit-worker-lifetime-jitter", "1", workers=3)
    with load(server) as clients:
        server.wait_for("is to be replaced: it has served for", count=4, timeout=30)
        judge(clients, gap=1.0)


def test_a_worker_that_has_grown_too_big_is_replaced(uvicorn):
    app = PID.replace(
        'if path == "/pid":', 'if path == "/eat":\n        app.hoard = b"x" * (200 << 20)\n    if path == "/pid":'
    )
    server = start(uvicorn, "--limit-worker-memory", "120", app=app)
    get(server, "/eat")
    server.wait_for(r"is to be replaced: it takes \d+ MiB, more than 120 MiB", timeout=25)
    all_ready(server, 3)
