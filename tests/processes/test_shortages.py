"""What the system has no more of, the master does without until it is there again."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys

import pytest

from tests.processes.apps import PID
from tests.processes.helpers import DEADLINE, get, start, until, worker_pids

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit")


def descriptors(pid):
    """What each descriptor of a process is; without those that it has for a moment, to look at others."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return {fd: target for fd, target in found.items() if not target.startswith("/proc/")}


def records(pid):
    """For how many workers a master has asked a template."""
    return sum("last-words" in target for target in descriptors(pid).values())


def leave_descriptors(pid, free):
    """Set the limit so that a process may open `free` more."""
    used = descriptors(pid)
    unused = [fd for fd in range(1024) if fd not in used]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (unused[free], 4096))


def leave_plenty(pid):
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1024, 4096))


def test_no_descriptor_for_a_worker_that_was_forked(uvicorn):
    server = start(uvicorn, app=PID)
    pids = worker_pids(server, 3)
    (template,) = set(server.descendants()) - set(pids)
    os.kill(template, signal.SIGSTOP)  # so that three forks are asked for before one is reported
    # Each of them takes two, three for a moment, and then one more to be watched.
    leave_descriptors(server.pid, 7)
    for count in (4, 5, 6):
        server.signal(signal.SIGTTIN)
        until(lambda n=count: records(server.pid) == n, f"worker {count} asked for", server=server)
    os.kill(template, signal.SIGCONT)
    server.wait_for(r"Cannot start worker \d: Too many open files; trying again in 1 s", DEADLINE)
    assert int(get(server, "/pid")) in worker_pids(server)
    leave_plenty(server.pid)
    pids = worker_pids(server, 6)
    server.wait_for_descendants(7)  # and the template: who could not be watched is gone
    assert server.stop() == 0
    assert "Traceback" not in server.log


def test_no_descriptor_for_an_upgrade(uvicorn):
    server = start(uvicorn, app=PID)
    pids = worker_pids(server, 3)
    leave_descriptors(server.pid, 0)
    server.signal(signal.SIGUSR2)
    server.wait_for(r"Cannot upgrade: .*Too many open files; going on as before", DEADLINE)
    assert int(get(server, "/pid")) in pids
    leave_plenty(server.pid)
    server.signal(signal.SIGUSR2)
    server.wait_for(r"Reloaded: 3 workers of generation 2 ", DEADLINE)
    assert server.stop() == 0
    assert "Traceback" not in server.log
