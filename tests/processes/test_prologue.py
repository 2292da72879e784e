"""What the application begins with is imported once, in the template; the application itself in each worker."""

from __future__ import annotations

import os
import signal

from tests.processes.helpers import all_ready, everybody, worker_pids
from tests.processes.helpers import start as start_workers

APP = """\
import falcon

import os

OWN = os.getpid()


async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        await send({"type": (await receive())["type"] + ".complete"})
    body = f"{falcon.PID} {OWN} {os.getpid()}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


def test_a_framework_is_shared_and_the_application_is_not(uvicorn, tmp_path):
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "falcon.py").write_text("import os\n\nPID = os.getpid()\n")
    server = start_workers(uvicorn, app=APP, env={"PYTHONPATH": str(installed)})
    workers = worker_pids(server, 3)
    os.kill(workers[0], signal.SIGKILL)
    all_ready(server, 4)
    shared = set()
    for answer in everybody(server, "/", 3):
        theirs, own, pid = map(int, answer.split())
        assert own == pid
        shared.add(theirs)
    assert len(shared) == 1
    assert not shared & {*workers, server.pid}
