"""Who dies is replaced, and the line in the log says why; when the master dies nobody is left."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from tests.processes.apps import PID, before
from tests.processes.helpers import all_ready, get, is_gone, judge, load, request, until, worker_pids
from tests.support.wire import Wire


def start(uvicorn, *args, app=PID, workers=3, **options):
    server = uvicorn("--workers", workers, "--no-access-log", *args, app=app, **options)
    all_ready(server, workers)
    return server


def test_a_killed_worker_is_replaced_at_once_and_only_its_own_requests_are_lost(uvicorn):
    server = start(uvicorn)
    victim, *others = worker_pids(server, 3)
    with Wire.connect(server.address) as wire:
        while int(wire.request(request("/pid")).body) == victim:
            wire.close()
            wire = Wire.connect(server.address)
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        server.wait_for("Application startup complete", count=4)
        took = time.monotonic() - began
        assert int(wire.request(request("/pid")).body) in others
        wire.close()
    # 20 to 60 ms when measured alone; here other tests are at work as well.
    assert took < 0.5
    assert re.search(rf"Worker \d \(pid {victim}\) exited: killed by SIGKILL after \S+ s; replacing it", server.log)
    assert len(worker_pids(server, 3)) == 3


def test_new_connections_are_served_while_workers_are_killed(uvicorn):
    server = start(uvicorn)
    for _ in range(3):
        with Wire.connect(server.address) as wire:
            pid = int(wire.request(request("/pid")).body)
        os.kill(pid, signal.SIGKILL)
        assert get(server, "/") == b"hello"
    worker_pids(server, 3)


def test_every_slot_keeps_its_number(uvicorn):
    server = start(uvicorn, workers=2)
    for pid in worker_pids(server, 2):
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: is_gone(pid), f"{pid} is gone")
    all_ready(server, 4)
    numbers = until(lambda: (s := {get(server, "/worker") for _ in range(20)}) and len(s) == 2 and s, "both answer")
    assert numbers == {b"1", b"2"}


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
    with Wire.connect(server.address) as wire:
        wire.send(request("/die"))
        server.wait_for(re.escape(words))
    all_ready(server, 3)
    assert get(server, "/") == b"hello"


def test_a_worker_that_somebody_terminates_finishes_its_requests_and_is_replaced(uvicorn):
    server = start(uvicorn, workers=2)
    with Wire.connect(server.address) as wire:
        wire.send(request("/sleep/0.8"))
        time.sleep(0.2)
        for pid in worker_pids(server, 2):
            os.kill(pid, signal.SIGTERM)
        assert wire.read_response().status == 200
    all_ready(server, 4)
    worker_pids(server, 2)


def test_signals_for_the_master_do_not_hurt_workers(uvicorn):
    server = start(uvicorn)
    pids = worker_pids(server, 3)
    for pid in pids:
        for name in ("HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH"):
            os.kill(pid, getattr(signal, f"SIG{name}"))
    for _ in range(10):
        assert int(get(server, "/pid")) in pids
    assert worker_pids(server, 3) == pids


def test_a_killed_master_takes_all_with_it_within_100_ms(uvicorn):
    server = start(uvicorn)
    family = server.descendants()
    assert len(family) == 4
    began = time.monotonic()
    server.signal(signal.SIGKILL)
    until(lambda: all(is_gone(pid) for pid in family), "all are gone", 2)
    assert time.monotonic() - began < 0.1 + 0.15  # the second part: this machine runs other tests
    with pytest.raises(ConnectionRefusedError):
        Wire.connect(server.address)
    server.process.wait()


def test_a_killed_master_takes_workers_with_it_that_block_or_import(uvicorn):
    server = start(uvicorn, workers=2)
    with Wire.connect(server.address) as wire:
        wire.send(request("/block/60"))
        time.sleep(0.2)
        family = server.descendants()
        server.signal(signal.SIGKILL)
        until(lambda: all(is_gone(pid) for pid in family), "all are gone", 2)
    server = uvicorn("--workers", "2", app=before("import os, time; os.write(1, b'importing\\n'); time.sleep(60)"))
    server.wait_for("importing", count=2)
    family = server.descendants()
    server.signal(signal.SIGKILL)
    until(lambda: all(is_gone(pid) for pid in family), "all are gone", 2)


def test_a_worker_that_dies_young_again_and_again_is_started_ever_more_slowly(uvicorn):
    app = PID.replace(
        'await send({"type": message["type"] + ".complete"})',
        'await send({"type": message["type"] + ".complete"})\n'
        "            asyncio.get_running_loop().call_later(0.2, os._exit, 1)",
    )
    server = start(uvicorn, app=app)
    time.sleep(8)
    assert server.process.poll() is None
    starts = server.log.count("Application startup complete.")
    assert 4 <= starts <= 3 + 12, server.log
    assert re.search(r"replacing it in \d", server.log)
    assert server.stop() == 0


def test_a_template_that_is_killed_is_replaced_and_workers_serve_on(uvicorn):
    server = start(uvicorn, workers=2)
    pids = worker_pids(server, 2)
    (template,) = set(server.descendants()) - set(pids)
    os.kill(template, signal.SIGKILL)
    server.wait_for(r"The template of generation 1 exited: killed by SIGKILL")
    assert int(get(server, "/pid")) in pids
    os.kill(pids[0], signal.SIGKILL)
    all_ready(server, 3)
    worker_pids(server, 2)


def test_orphans_of_the_application_are_reaped(uvicorn):
    app = PID.replace(
        'if path == "/pid":',
        'if path == "/orphan":\n        import subprocess\n'
        '        subprocess.run(["sh", "-c", "sleep 0.3 & echo"], stdout=subprocess.DEVNULL)\n    if path == "/pid":',
    )
    server = start(uvicorn, app=app, workers=2)
    get(server, "/orphan")

    def zombies():
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat") as file:
                        fields = file.read().rpartition(")")[2].split()
                except OSError:
                    continue
                if fields[0] == "Z" and int(fields[1]) == server.pid:
                    found.append(name)
        return found

    time.sleep(0.6)  # the orphan has ended by then
    until(lambda: not zombies(), "no zombie is left", 2)


def test_load_survives_the_death_of_idle_workers(uvicorn):
    """Clients on other workers notice nothing at all."""
    server = start(uvicorn)
    with load(server) as clients:
        for client in clients:
            client.wait_for_answers(50)
        judge(clients)
