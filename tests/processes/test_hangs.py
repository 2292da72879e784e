"""An event loop that does not move is seen, told with its stack and its requests, and replaced before it is killed."""

from __future__ import annotations

import os
import signal

from tests.processes.apps import PID
from tests.processes.helpers import (
    DEADLINE,
    READY,
    all_ready,
    connect,
    get,
    judge,
    load,
    request,
    start,
    until,
    worker_pids,
)

SPIN = PID.replace(
    'elif path == "/stream":',
    'elif path == "/gil":\n        import re\n        re.match("(a+)+$", "a" * 36 + "b")\n    elif path == "/stream":',
)
"""A regular expression that holds the interpreter's lock for minutes."""
LIMIT = ("--timeout-worker-healthcheck", "3")


def send_to_one(server, path):
    """Send a request; return its connection and the pid of the worker that got it."""
    wire = connect(server)
    pid = int(wire.request(request("/pid")).body)
    wire.send(request(path))
    return wire, pid


def block_one(server, path="/block/600"):
    """As `send_to_one`, and its loop is blocked when this returns: connections made from now on are not in it."""
    wire, pid = send_to_one(server, path)
    server.wait_for("blocks", DEADLINE)
    return wire, pid


def test_a_blocked_loop_is_replaced_with_its_stack_and_request_in_the_log(uvicorn):
    server = start(uvicorn, *LIMIT, app=PID)
    wire, pid = block_one(server, "/block/600?x=1")
    with wire:
        server.wait_for(rf"Worker \d \(pid {pid}\) is replaced: its event loop has not moved for", DEADLINE)
        server.wait_for(rf"Worker \d \(pid {pid}\) exited: killed by SIGKILL", DEADLINE)
    log = server.log
    assert "  GET /block/600?x=1 from 127.0.0.1:" in log
    assert 'app.py", line' in log
    all_ready(server, 4)
    assert log.rindex(READY) < log.index("exited: killed by SIGKILL")
    assert len(worker_pids(server, 3)) == 3
    assert get(server, "/") == b"hello"


def test_others_serve_on_while_one_is_blocked(uvicorn):
    server = start(uvicorn, *LIMIT, app=PID)
    wire, pid = block_one(server)
    with wire, load(server) as clients:
        server.wait_for(rf"Worker \d \(pid {pid}\) exited: killed by SIGKILL", DEADLINE)
        judge(clients)


def test_a_c_call_that_holds_the_interpreter_is_seen_and_named(uvicorn):
    server = start(uvicorn, *LIMIT, app=SPIN, workers=2)
    wire, pid = send_to_one(server, "/gil")
    with wire:
        server.wait_for(rf"Worker \d \(pid {pid}\) exited: killed by SIGKILL", DEADLINE)
    assert "in match" in server.log or "re/__init__.py" in server.log
    worker_pids(server, 2)


def test_a_long_block_that_is_allowed_is_told_and_not_killed(uvicorn):
    server = start(uvicorn, app=PID, workers=2)
    wire, pid = send_to_one(server, "/block/12")
    with wire:
        server.wait_for(rf"Worker \d \(pid {pid}\) has an event loop that has not moved for", DEADLINE)
        assert wire.read_response().status == 200
    assert pid in worker_pids(server, 2)


def test_a_loop_that_hangs_while_it_drains_is_killed(uvicorn):
    server = start(uvicorn, *LIMIT, app=PID, workers=2)
    wire, pid = block_one(server)
    with wire:
        server.signal(signal.SIGHUP)
        server.wait_for(rf"Worker \d \(pid {pid}\) exited: killed by SIGKILL", DEADLINE)
        server.wait_for("Reloaded: 2 workers of generation 2", DEADLINE)
    worker_pids(server, 2)


def test_a_stopped_process_is_reported_and_left_alone(uvicorn):
    server = start(uvicorn, *LIMIT, app=PID, workers=2)
    stopped, other = worker_pids(server, 2)
    os.kill(stopped, signal.SIGSTOP)
    try:
        server.wait_for(rf"Worker \d \(pid {stopped}\) was stopped \(SIGSTOP, or a debugger\)", DEADLINE)
        wire = until(lambda: asked(server, other), f"{other} answers", server=server)
        with wire:  # the other is found blocked: by then the stopped one has been looked at more than once
            wire.send(request("/block/600"))
            server.wait_for(rf"Worker \d \(pid {other}\) is replaced", DEADLINE)
        assert stopped in server.descendants()
        assert not [line for line in server.log.splitlines() if f"pid {stopped}) is replaced" in line]
    finally:
        os.kill(stopped, signal.SIGCONT)
    server.wait_for(rf"Worker \d \(pid {stopped}\) runs again", DEADLINE)


def asked(server, pid):
    """A connection to this worker, or None if another one took it."""
    wire = connect(server)
    if int(wire.request(request("/pid")).body) == pid:
        return wire
    wire.close()
    return None
