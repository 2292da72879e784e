"""SIGHUP, TTIN and TTOU under clients that never retry."""

from __future__ import annotations

import signal
import time

import pytest

from tests.processes.apps import PID, before, with_version
from tests.processes.helpers import all_ready, get, judge, load, request, until, worker_pids
from tests.support.wire import Wire


def start(uvicorn, *args, app=PID, workers=3, **options):
    server = uvicorn("--workers", workers, "--no-access-log", *args, app=app, **options)
    all_ready(server, workers)
    return server


def deploy(tmp_path, source):
    (tmp_path / "app.py").write_text(source)


def hup(server, generation, timeout=20):
    server.signal(signal.SIGHUP)
    server.wait_for(rf"Reloaded: \d+ workers? of generation {generation} in", timeout=timeout)


def test_three_rolling_restarts_under_load_lose_nothing(uvicorn, tmp_path):
    server = start(uvicorn, app=before("import time; time.sleep(0.5)"))
    old = worker_pids(server, 3)
    with load(server) as clients:
        for generation in (2, 3, 4):
            hup(server, generation)
        judge(clients, gap=1.0)  # other tests compete for the processors
    assert not set(old) & set(worker_pids(server, 3))


def test_new_code_is_served_after_a_reload(uvicorn, tmp_path):
    server = start(uvicorn)
    assert get(server, "/version") == b"one"
    deploy(tmp_path, with_version("two"))
    hup(server, 2)
    assert {get(server, "/version") for _ in range(10)} == {b"two"}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("raise RuntimeError('the cause')", "RuntimeError: the cause"),
        (PID.replace('await send({"type": message["type"] + ".complete"})', "raise RuntimeError"), "startup failed"),
    ],
    ids=["import", "lifespan"],
)
def test_broken_code_leaves_the_old_generation_whole_and_the_next_reload_heals(uvicorn, tmp_path, broken, reason):
    server = start(uvicorn, "--lifespan", "on")
    old = worker_pids(server, 3)
    with load(server) as clients:
        deploy(tmp_path, broken)
        server.signal(signal.SIGHUP)
        server.wait_for(f"Reload failed: .*{reason}.*generation 1 stays")
        judge(clients)
    assert worker_pids(server, 3) == old
    assert server.log.count("Traceback") == 1
    deploy(tmp_path, with_version("healed"))
    hup(server, 3)
    assert get(server, "/version") == b"healed"


def test_a_boot_that_hangs_is_given_up_and_the_old_generation_serves_on(uvicorn, tmp_path):
    server = start(uvicorn, "--timeout-worker-boot", "6")
    old = worker_pids(server, 3)
    deploy(tmp_path, before("import time; time.sleep(60)"))
    with load(server) as clients:
        server.signal(signal.SIGHUP)
        server.wait_for("Reload failed: .*not ready within 6 s", timeout=15)
        judge(clients)
    assert worker_pids(server, 3) == old


def test_a_term_in_the_middle_of_a_restart_that_a_stream_holds_up_ends_within_the_limit(uvicorn):
    server = start(uvicorn, "--timeout-graceful-shutdown", "2")
    with Wire.connect(server.address) as wire:
        wire.send(request("/stream"))
        wire.read_some()
        server.signal(signal.SIGHUP)
        server.wait_for("Terminated child process")
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait(10) == 0
        assert time.monotonic() - began < 2 + 1.5


def test_a_stream_does_not_hold_up_a_restart(uvicorn, tmp_path):
    server = start(uvicorn)
    with Wire.connect(server.address) as wire:
        wire.send(request("/stream"))
        wire.read_some()
        deploy(tmp_path, with_version("two"))
        hup(server, 2)
        assert {get(server, "/version") for _ in range(10)} == {b"two"}
        assert wire.read_some()  # still streams


def test_reloads_in_a_row_end_with_the_newest(uvicorn, tmp_path):
    server = start(uvicorn, app=before("import time; time.sleep(0.3)"))
    with load(server) as clients:
        for _ in range(4):
            server.signal(signal.SIGHUP)
            time.sleep(0.1)
        server.wait_for(r"Reloaded: 3 workers of generation 5 in")
        judge(clients)
    worker_pids(server, 3)


def test_more_and_less_workers_under_load(uvicorn):
    server = start(uvicorn)
    with load(server) as clients:
        server.signal(signal.SIGTTIN)
        all_ready(server, 4)
        server.signal(signal.SIGTTIN)
        all_ready(server, 5)
        for count in (1, 2, 3):
            server.signal(signal.SIGTTOU)
            server.wait_for("Received SIGTTOU", count=count)
        worker_pids(server, 2, timeout=15)
        judge(clients)
    server.signal(signal.SIGTTOU)
    worker_pids(server, 1, timeout=15)
    server.signal(signal.SIGTTOU)
    server.wait_for("Already reached one process, cannot decrease the number of processes anymore.")


def test_idle_connections_survive_a_restart_until_their_next_request(uvicorn):
    server = start(uvicorn, "--timeout-keep-alive", "20")
    wires = [Wire.connect(server.address) for _ in range(9)]
    for wire in wires:
        assert wire.request(request("/pid")).keeps_alive
    hup(server, 2)
    for wire in wires:
        response = wire.request(request("/pid"))
        assert response.status == 200
        assert not response.keeps_alive
        wire.close()
    worker_pids(server, 3)


def test_settings_of_a_file_are_read_again(uvicorn, tmp_path):
    (tmp_path / "uvicorn.toml").write_text('workers = 2\nheaders = ["X-Deploy:1"]\n')
    server = uvicorn(app=PID)
    all_ready(server, 2)
    (tmp_path / "uvicorn.toml").write_text('workers = 3\nheaders = ["X-Deploy:2"]\n')
    hup(server, 2)
    worker_pids(server, 3)
    with Wire.connect(server.address) as wire:
        assert wire.request(request("/")).get("x-deploy") == b"2"
    (tmp_path / "uvicorn.toml").write_text("workers = no\n")
    server.signal(signal.SIGHUP)
    server.wait_for("Cannot reload: ")
    assert get(server, "/") == b"hello"


def test_requests_in_flight_on_old_workers_are_answered(uvicorn):
    server = start(uvicorn)
    wires = [Wire.connect(server.address) for _ in range(6)]
    for wire in wires:
        wire.send(request("/sleep/1.5"))
    time.sleep(0.2)
    hup(server, 2)
    for wire in wires:
        assert wire.read_response().status == 200
        wire.close()
    until(lambda: len(server.descendants()) == 4, "the old workers are gone", server=server)
