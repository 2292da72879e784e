"""--preload: one import, shared memory, and still new code at SIGHUP; a failed rollout goes back to the old code."""

from __future__ import annotations

import os
import signal

import pytest

from tests.processes.apps import PID, before, with_version
from tests.processes.helpers import DEADLINE, all_ready, everybody, get, judge, load, worker_pids
from tests.processes.helpers import start as start_workers
from tests.support.wire import Wire


def start(uvicorn, *args, app=PID, **options):
    return start_workers(uvicorn, "--preload", "--lifespan", "on", *args, app=app, **options)


IMPORTED = before("import os", "os.write(1, b'imported\\n')")


def test_the_application_is_imported_once(uvicorn):
    server = start(uvicorn, app=IMPORTED)
    server.wait_for("imported", DEADLINE)
    os.kill(worker_pids(server, 3)[0], signal.SIGKILL)
    all_ready(server, 4)
    assert server.log.count("imported") == 1


def test_new_code_is_served_after_a_reload_without_a_loss(uvicorn, tmp_path):
    server = start(uvicorn)
    with load(server, "/version") as clients:
        (tmp_path / "app.py").write_text(with_version("two"))
        server.signal(signal.SIGHUP)
        server.wait_for("Reloaded: 3 workers of generation 2", DEADLINE)
        judge(clients)
    assert get(server, "/version") == b"two"


def test_a_respawn_serves_the_old_code_whatever_became_of_the_files(uvicorn, tmp_path):
    server = start(uvicorn)
    (tmp_path / "app.py").write_text("raise RuntimeError('half a deployment')")
    for pid in worker_pids(server, 3):
        os.kill(pid, signal.SIGKILL)
    all_ready(server, 6)
    assert get(server, "/version") == b"one"


def test_a_respawn_that_cannot_be_is_told_and_tried_again(uvicorn, tmp_path):
    server = start(uvicorn)
    pids = worker_pids(server, 3)
    (template,) = set(server.descendants()) - set(pids)
    (tmp_path / "app.py").write_text("raise RuntimeError('half a deployment')")
    os.kill(template, signal.SIGKILL)
    server.wait_for("a failed restart can no longer go back", DEADLINE)
    os.kill(pids[0], signal.SIGKILL)
    server.wait_for(
        r"Cannot start workers of generation 1: RuntimeError: half a deployment; trying again in \S+ s",
        DEADLINE,
        count=2,
    )
    assert get(server, "/version") == b"one"
    (tmp_path / "app.py").write_text(PID)
    all_ready(server, 4)
    assert server.stop(DEADLINE) == 0


def test_code_that_does_not_import_changes_nothing(uvicorn, tmp_path):
    server = start(uvicorn)
    old = worker_pids(server, 3)
    (tmp_path / "app.py").write_text("raise RuntimeError('the cause')")
    with load(server) as clients:
        server.signal(signal.SIGHUP)
        server.wait_for("Reload failed: RuntimeError: the cause; generation 1 stays", DEADLINE)
        judge(clients)
    assert worker_pids(server, 3) == old
    assert server.log.count("Traceback") == 1


def test_a_rollout_that_fails_after_its_canary_goes_back_to_the_old_code(uvicorn, tmp_path):
    server = start(uvicorn)
    flag = tmp_path / "flag"
    source = with_version("two").replace(
        'await send({"type": message["type"] + ".complete"})',
        f'if message["type"] == "lifespan.startup":\n                '
        f"os.close(os.open({str(flag)!r}, os.O_CREAT | os.O_EXCL))  # the second one fails\n            "
        'await send({"type": message["type"] + ".complete"})',
    )
    (tmp_path / "app.py").write_text(source)
    with load(server, "/version") as clients:
        server.signal(signal.SIGHUP)
        server.wait_for("Reload failed: .*; going back to generation 1", DEADLINE)
        server.wait_for("Reloaded: 3 workers of generation 1", DEADLINE)
        judge(clients)
    assert {get(server, "/version") for _ in range(10)} == {b"one"}


def test_without_preload_a_rollout_that_fails_after_its_canary_is_partial(uvicorn, tmp_path):
    server = uvicorn("--workers", "3", "--no-access-log", "--lifespan", "on", app=PID)
    all_ready(server, 3)
    flag = tmp_path / "flag"
    (tmp_path / "app.py").write_text(
        with_version("two").replace(
            'await send({"type": message["type"] + ".complete"})',
            f'if message["type"] == "lifespan.startup":\n                '
            f"os.close(os.open({str(flag)!r}, os.O_CREAT | os.O_EXCL))\n            "
            'await send({"type": message["type"] + ".complete"})',
        )
    )
    with load(server, "/version") as clients:
        server.signal(signal.SIGHUP)
        server.wait_for("Reload is partial: .*; 2 workers of an older generation stay", DEADLINE)
        judge(clients)
    assert everybody(server, "/version", 2) == {b"one", b"two"}
    (tmp_path / "app.py").write_text(with_version("three"))
    server.signal(signal.SIGHUP)
    server.wait_for("Reloaded: 3 workers of generation 3", DEADLINE)
    assert {get(server, "/version") for _ in range(10)} == {b"three"}


def test_an_application_with_threads_is_not_forked(uvicorn):
    app = before(
        "import threading, time",
        "threading.Thread(target=time.sleep, args=(600,), daemon=True, name='metrics').start()",
    )
    server = start(uvicorn, app=app)
    assert "The application starts threads at its import (metrics); --preload cannot share it" in server.log
    assert get(server, "/") == b"hello"


@pytest.mark.parametrize("app", ["raise RuntimeError('the cause')", "import sys; sys.exit(1)"])
def test_a_start_that_fails_exits_with_3(uvicorn, app):
    server = uvicorn("--workers", "2", "--preload", app=app, ready=None)
    assert server.wait(DEADLINE) == 3
    assert server.log.count("Traceback") <= 1
    assert "Cannot start workers: " in server.log
    with pytest.raises(ConnectionRefusedError):
        Wire.connect(server.address)


def test_a_stop_does_not_wait_for_an_import(uvicorn):
    server = uvicorn(
        "--workers", "2", "--preload", app=before("import os, time", "os.write(1, b'imp\\n'); time.sleep(600)")
    )
    server.wait_for("imp", DEADLINE)
    assert server.stop(DEADLINE) == 0
