"""Who dies is replaced, and the line in the log says why; when the master dies nobody is left."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from tests.processes.apps import PID, before
from tests.processes.helpers import (
    DEADLINE,
    READY,
    alive_of,
    all_ready,
    connect,
    everybody,
    get,
    is_gone,
    lines_with,
    load,
    request,
    start,
    until,
    worker_pids,
)
from tests.support.wire import Wire, WireError


def test_a_killed_worker_is_replaced_at_once_and_only_its_own_requests_are_lost(uvicorn):
    server = start(uvicorn, "--timeout-keep-alive", "600", app=PID)
    victim = worker_pids(server, 3)[0]
    mine, others = [], []
    while not mine or not others:  # whoever asks gets any of the three
        wire = connect(server)
        pid = int(wire.request(request("/pid")).body)
        (mine if pid == victim else others).append(wire)
    os.kill(victim, signal.SIGKILL)
    all_ready(server, 4)
    for wire in others:
        assert wire.request(request("/")).body == b"hello"
        wire.close()
    for wire in mine:
        with pytest.raises((WireError, ConnectionError)):
            wire.request(request("/"))
        wire.close()
    # "Replacing it", not "in 0.1 s": nothing waits before the first replacement. How fast it is, a benchmark says.
    server.wait_for(rf"Worker \d \(pid {victim}\) exited: killed by SIGKILL after \S+ s; replacing it$", DEADLINE)
    assert len(worker_pids(server, 3)) == 3


def test_under_load_the_death_of_a_worker_costs_what_it_held_and_nothing_else(uvicorn):
    server = start(uvicorn, app=PID)
    with load(server) as clients:
        victim = worker_pids(server, 3)[0]
        os.kill(victim, signal.SIGKILL)
        all_ready(server, 4)
        for client in clients:
            client.wait_for_answers(50, DEADLINE)
        reports = [client.stop() for client in clients]
    for report, connections in zip(reports, (6, 3), strict=True):
        assert not report.refused, str(report)  # the socket is the master's
        assert not report.timeouts, str(report)
        assert report.failures <= connections, str(report)  # a connection dies once, with the request in it


def test_new_connections_are_served_while_workers_are_killed(uvicorn):
    server = start(uvicorn, app=PID)
    for _ in range(3):
        with connect(server) as wire:
            pid = int(wire.request(request("/pid")).body)
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: is_gone(pid), f"{pid} is gone")
        assert get(server, "/") == b"hello"
    worker_pids(server, 3)


def test_every_slot_keeps_its_number(uvicorn):
    server = start(uvicorn, app=PID, workers=2)
    for pid in worker_pids(server, 2):
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: is_gone(pid), f"{pid} is gone")
    all_ready(server, 4)
    assert everybody(server, "/worker", 2) == {b"1", b"2"}


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        ("os._exit(7)", "exit code 7"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "it was sent SIGTERM"),
    ],
)
def test_a_death_is_worded(uvicorn, deed, words):
    app = PID.replace('if path == "/pid":', f'if path == "/die":\n        {deed}\n    if path == "/pid":')
    server = start(uvicorn, app=app, workers=2)
    with connect(server) as wire:
        wire.send(request("/die"))
        server.wait_for(re.escape(words), DEADLINE)
    all_ready(server, 3)
    assert get(server, "/") == b"hello"


def test_a_worker_that_somebody_terminates_finishes_its_requests_and_is_replaced(uvicorn):
    server = start(uvicorn, app=PID, workers=2)
    with connect(server) as wire:
        wire.send(request("/sleep/1"))
        server.wait_for("sleeps", DEADLINE)
        for pid in worker_pids(server, 2):
            os.kill(pid, signal.SIGTERM)
        assert wire.read_response().status == 200
    all_ready(server, 4)
    worker_pids(server, 2)


def test_signals_for_the_master_do_not_hurt_workers(uvicorn):
    server = start(uvicorn, app=PID)
    pids = worker_pids(server, 3)
    for pid in pids:
        for name in ("HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH"):
            os.kill(pid, getattr(signal, f"SIG{name}"))
    for _ in range(10):
        assert int(get(server, "/pid")) in pids, server.log
    assert worker_pids(server, 3) == pids


def test_a_killed_master_takes_all_with_it_and_frees_the_port(uvicorn):
    server = start(uvicorn, app=PID)
    family = server.descendants()
    assert len(family) == 4
    server.signal(signal.SIGKILL)
    until(lambda: not alive_of(family), "all are gone")
    with pytest.raises(ConnectionRefusedError):
        Wire.connect(server.address)
    server.process.wait()
    again = start(uvicorn, "--port", server.port, app=PID)
    assert get(again, "/") == b"hello"


def test_a_killed_master_takes_workers_with_it_that_block(uvicorn):
    server = start(uvicorn, app=PID, workers=2)
    with connect(server) as wire:
        wire.send(request("/block/600"))
        server.wait_for("blocks", DEADLINE)
        family = server.descendants()
        server.signal(signal.SIGKILL)
        until(lambda: not alive_of(family), "all are gone")


def test_a_killed_master_takes_workers_with_it_that_import(uvicorn):
    server = uvicorn("--workers", "2", app=before("import os, time; os.write(1, b'importing\\n'); time.sleep(600)"))
    server.wait_for("importing", DEADLINE, count=2)
    family = server.descendants()
    server.signal(signal.SIGKILL)
    until(lambda: not alive_of(family), "all are gone")


def test_a_worker_that_dies_young_again_and_again_is_started_ever_more_slowly(uvicorn, tmp_path):
    complete = 'await send({"type": message["type"] + ".complete"})'
    app = PID.replace(complete, complete + "\n            asyncio.get_running_loop().call_later(0.2, die)")
    app += """
def die():
    if os.path.exists("broken"):
        os._exit(1)
    asyncio.get_running_loop().call_later(0.2, die)
"""
    server = start(uvicorn, app=app)
    everybody(server, "/pid", 3)
    (tmp_path / "broken").touch()
    time.sleep(8)  # the time in which no more than 12 starts are promised
    starts = len(lines_with(server, "Started server process")) - 3
    assert starts <= 12, server.log
    server.wait_for(READY, DEADLINE, count=5)  # it does not give up either
    server.wait_for(r"replacing it in \d", DEADLINE)
    assert server.process.poll() is None
    assert server.stop(DEADLINE) == 0


def test_a_template_that_is_killed_is_replaced_and_workers_serve_on(uvicorn):
    server = start(uvicorn, app=PID, workers=2)
    pids = worker_pids(server, 2)
    (template,) = set(server.descendants()) - set(pids)
    os.kill(template, signal.SIGKILL)
    server.wait_for(r"The template of generation 1 exited: killed by SIGKILL", DEADLINE)
    assert int(get(server, "/pid")) in pids
    os.kill(pids[0], signal.SIGKILL)
    all_ready(server, 3)
    worker_pids(server, 2)


def test_a_stop_does_not_wait_for_a_template_that_is_stopped(uvicorn):
    server = start(uvicorn, app=PID, workers=2)
    pids = worker_pids(server, 2)
    (template,) = set(server.descendants()) - set(pids)
    os.kill(template, signal.SIGSTOP)
    os.kill(pids[0], signal.SIGKILL)
    server.wait_for("killed by SIGKILL after .* replacing it", DEADLINE)  # by a worker that does not come
    assert server.stop() == 0
    assert alive_of([template]) == []


def test_orphans_of_the_application_are_reaped(uvicorn):
    app = PID.replace(
        'if path == "/pid":',
        'if path == "/orphan":\n        import subprocess\n'
        '        orphan = subprocess.check_output(["sh", "-c", "sleep 0.5 >/dev/null & echo $!"])\n'
        '        return await answer(send, orphan)\n    if path == "/pid":',
    )
    server = start(uvicorn, app=app, workers=2)
    orphan = int(get(server, "/orphan"))
    # Not even as a zombie, whose parent is then the master.
    until(lambda: not os.path.exists(f"/proc/{orphan}"), f"the orphan {orphan} is reaped", server=server)
