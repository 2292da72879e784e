"""Workers that have reached a limit are replaced first and leave then."""

from __future__ import annotations

from tests.processes.apps import PID
from tests.processes.helpers import DEADLINE, all_ready, assert_never_fewer_ready, get, judge, load, start, worker_pids


def test_workers_at_their_request_limit_are_replaced_without_a_loss(uvicorn):
    server = start(uvicorn, "--limit-max-requests", "300", "--limit-max-requests-jitter", "50", app=PID)
    with load(server) as clients:
        server.wait_for("is to be replaced: it has answered", DEADLINE, count=6)
        judge(clients)
    assert_never_fewer_ready(server, 3)
    worker_pids(server, 3)


def test_workers_at_the_end_of_their_life_are_replaced_without_a_loss(uvicorn):
    server = start(uvicorn, "--limit-worker-lifetime", "1.5", "--limit-worker-lifetime-jitter", "1", app=PID)
    with load(server) as clients:
        server.wait_for("is to be replaced: it has served for", DEADLINE, count=4)
        judge(clients)
    assert_never_fewer_ready(server, 3)


def test_a_worker_that_has_grown_too_big_is_replaced(uvicorn):
    app = PID.replace(
        'if path == "/pid":', 'if path == "/eat":\n        app.hoard = b"x" * (200 << 20)\n    if path == "/pid":'
    )
    server = start(uvicorn, "--limit-worker-memory", "120", app=app, workers=2)
    get(server, "/eat")
    server.wait_for(r"is to be replaced: it takes \d+ MiB, more than 120 MiB", DEADLINE)
    all_ready(server, 3)
