"""SIGHUP, TTIN and TTOU under clients that never retry."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack

import pytest

from tests.processes.apps import PID, before, with_version
from tests.processes.helpers import (
    DEADLINE,
    all_ready,
    assert_never_fewer_ready,
    connect,
    get,
    judge,
    lines_with,
    load,
    request,
    start,
    until,
    worker_pids,
)


def deploy(tmp_path, source):
    (tmp_path / "app.py").write_text(source)


def hup(server, generation, timeout=DEADLINE):
    server.signal(signal.SIGHUP)
    server.wait_for(rf"Reloaded: \d+ workers? of generation {generation} in", timeout=timeout)


def versions(server):
    return {get(server, "/version") for _ in range(10)}


@pytest.mark.parametrize(("boot", "restarts"), [(0.5, 3), (3.0, 1)])
def test_rolling_restarts_under_load_lose_nothing_and_never_have_fewer_workers(uvicorn, boot, restarts):
    server = start(uvicorn, app=before(f"import time; time.sleep({boot})"))
    old = worker_pids(server, 3)
    with load(server) as clients:
        for generation in range(2, 2 + restarts):
            hup(server, generation)
        judge(clients)
    assert_never_fewer_ready(server, 3)
    until(lambda: not set(old) & set(worker_pids(server)), "the first generation is gone", server=server)
    assert server.stop(DEADLINE) == 0


def test_new_code_is_served_after_a_reload(uvicorn, tmp_path):
    server = start(uvicorn, app=PID)
    assert get(server, "/version") == b"one"
    deploy(tmp_path, with_version("two"))
    hup(server, 2)
    assert versions(server) == {b"two"}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("raise RuntimeError('the cause')", "RuntimeError: the cause"),
        (PID.replace('await send({"type": message["type"] + ".complete"})', "raise RuntimeError"), "startup failed"),
    ],
    ids=["import", "lifespan"],
)
def test_broken_code_leaves_the_old_generation_whole_and_the_next_reload_heals(uvicorn, tmp_path, broken, reason):
    server = start(uvicorn, "--lifespan", "on", app=PID)
    old = worker_pids(server, 3)
    with load(server) as clients:
        deploy(tmp_path, broken)
        server.signal(signal.SIGHUP)
        server.wait_for(f"Reload failed: .*{reason}.*generation 1 stays", DEADLINE)
        assert worker_pids(server, 3) == old
        assert {get(server, "/version") for _ in range(10)} == {b"one"}
        deploy(tmp_path, with_version("healed"))
        hup(server, 3)
        judge(clients)
    assert versions(server) == {b"healed"}
    assert len(lines_with(server, "Reload failed")) == 1
    assert server.log.count("Traceback") == 1


def test_a_boot_that_hangs_is_given_up_and_the_next_reload_heals(uvicorn, tmp_path):
    settings = tmp_path / "uvicorn.toml"
    settings.write_text("workers = 3\naccess-log = false\n")
    server = uvicorn(app=PID)
    all_ready(server, 3)
    old = worker_pids(server, 3)
    with load(server) as clients:
        settings.write_text("workers = 3\naccess-log = false\ntimeout-worker-boot = 3\n")
        deploy(tmp_path, before("import time; time.sleep(600)"))
        server.signal(signal.SIGHUP)
        server.wait_for("Reload failed: .*not ready within 3 s.*generation 1 stays", DEADLINE)
        assert worker_pids(server, 3) == old
        settings.write_text("workers = 3\naccess-log = false\n")
        deploy(tmp_path, with_version("healed"))
        hup(server, 3)
        judge(clients)
    assert versions(server) == {b"healed"}
    assert len(lines_with(server, "Reload failed")) == 1


def test_a_worker_that_made_room_for_a_canary_that_fails_is_told_to_be_missing(uvicorn, tmp_path):
    server = start(uvicorn, "--surge", "0", app=PID)
    with load(server) as clients:
        deploy(tmp_path, "raise RuntimeError('the cause')")
        server.signal(signal.SIGHUP)
        server.wait_for(
            "Reload failed: .*the cause; generation 1 stays, but for the worker that has made room", DEADLINE
        )
        assert re.search(
            r"exited: exit code 3 before it was ready, after \S+ s; RuntimeError: the cause$", server.log, re.M
        )
        deploy(tmp_path, with_version("healed"))
        hup(server, 3)
        judge(clients)
    assert versions(server) == {b"healed"}


def test_a_restart_cuts_no_request_that_the_one_before_it_has_left(uvicorn):
    server = start(uvicorn, "--manager", app=PID, workers=1)
    with ExitStack() as stack:
        wires = []
        for generation in (2, 3, 4):
            wires.append(stack.enter_context(connect(server)))
            wires[-1].send(request("/sleep/4"))
            server.wait_for("sleeps", DEADLINE, count=len(wires))
            server.signal(signal.SIGHUP)
            all_ready(server, generation)
        for wire in wires:
            assert wire.read_response().status == 200
    server.wait_for("Reloaded: 1 worker of generation 4", DEADLINE)


def test_a_term_in_the_middle_of_a_restart_that_a_stream_holds_up_ends_within_the_limit(uvicorn):
    server = start(uvicorn, "--timeout-graceful-shutdown", "2", app=PID)
    with connect(server) as wire:
        wire.send(request("/stream"))
        assert wire.read_some()
        server.signal(signal.SIGHUP)
        server.wait_for("Terminated child process", DEADLINE)
        server.signal(signal.SIGTERM)
        assert server.wait(DEADLINE) == 0  # the stream lasts 200 s


def test_a_stream_does_not_hold_up_a_restart(uvicorn, tmp_path):
    server = start(uvicorn, "--timeout-graceful-shutdown", "600", app=PID)
    with connect(server) as wire:
        wire.send(request("/stream"))
        wire.read_some()
        deploy(tmp_path, with_version("two"))
        hup(server, 2)
        assert versions(server) == {b"two"}
        assert wire.read_some()  # still streams


def test_reloads_in_a_row_end_with_the_newest(uvicorn, tmp_path):
    server = start(uvicorn, app=before("import time; time.sleep(0.3)"))
    with load(server) as clients:
        for count in range(1, 5):
            server.signal(signal.SIGHUP)
            server.wait_for("Received SIGHUP", DEADLINE, count=count)
        server.wait_for(r"Reloaded: 3 workers of generation 5 in", DEADLINE)
        judge(clients)
    worker_pids(server, 3)


def test_more_and_less_workers_under_load(uvicorn):
    server = start(uvicorn, app=PID)
    with load(server) as clients:
        for count in (4, 5):
            server.signal(signal.SIGTTIN)
            all_ready(server, count)
        for count in (1, 2, 3):
            server.signal(signal.SIGTTOU)
            server.wait_for("Received SIGTTOU", DEADLINE, count=count)
        worker_pids(server, 2)
        judge(clients)
    assert_never_fewer_ready(server, 3)
    server.signal(signal.SIGTTOU)
    worker_pids(server, 1)
    server.signal(signal.SIGTTOU)
    server.wait_for("Already reached one process, cannot decrease the number of processes anymore.", DEADLINE)


def test_idle_connections_survive_a_restart_until_their_next_request(uvicorn):
    server = start(uvicorn, "--timeout-keep-alive", "600", app=PID)
    wires = [connect(server) for _ in range(9)]
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
    with connect(server) as wire:
        assert wire.request(request("/")).get("x-deploy") == b"2"
    (tmp_path / "uvicorn.toml").write_text("workers = no\n")
    server.signal(signal.SIGHUP)
    server.wait_for("Cannot reload: ", DEADLINE)
    assert get(server, "/") == b"hello"


@pytest.mark.parametrize("content", [b"WORD=\xff\n", None], ids=["no text", "gone"])
def test_an_env_file_that_cannot_be_read_changes_nothing(uvicorn, tmp_path, content):
    pytest.importorskip("dotenv")
    env_file = tmp_path / "site.env"
    env_file.write_text("WORD=one\n")
    app = PID.replace('path == "/version"', 'path == "/word"').replace(
        "VERSION.encode()", 'os.environ["WORD"].encode()'
    )
    server = start(uvicorn, "--env-file", env_file, app=app)
    old = worker_pids(server, 3)
    if content is None:
        env_file.unlink()
    else:
        env_file.write_bytes(content)
    with load(server) as clients:
        server.signal(signal.SIGHUP)
        server.wait_for("Cannot reload: .*site.env.*; the running workers stay", DEADLINE)
        assert worker_pids(server, 3) == old
        env_file.write_text("WORD=two\n")
        hup(server, 2)
        judge(clients)
    assert {get(server, "/word") for _ in range(10)} == {b"two"}


def test_requests_in_flight_on_old_workers_are_answered(uvicorn):
    server = start(uvicorn, app=PID)
    wires = [connect(server) for _ in range(6)]
    for wire in wires:
        wire.send(request("/sleep/1.5"))
    server.wait_for("sleeps", DEADLINE, count=6)
    hup(server, 2)
    for wire in wires:
        assert wire.read_response().status == 200
        wire.close()
    server.wait_for_descendants(4, DEADLINE)


def test_signals_are_obeyed_while_the_new_generation_boots(uvicorn, tmp_path):
    """While the new generation boots, workers can be added."""
    server = start(uvicorn, app=PID)
    deploy(tmp_path, before("import os, time; os.write(1, b'boots\\n'); time.sleep(4)"))
    server.signal(signal.SIGHUP)
    server.wait_for("boots", DEADLINE)
    server.signal(signal.SIGTTIN)
    server.wait_for("Received SIGTTIN", DEADLINE)
    server.wait_for(r"Reloaded: 4 workers of generation 2 in", DEADLINE)
    worker_pids(server, 4)
