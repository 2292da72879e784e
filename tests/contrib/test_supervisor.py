"""The shipped configurations under the real supervisord: served, healed, reloaded, stopped, failed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import pytest

from tests.support.processes import Running, free_port, in_environment, is_alive
from tests.support.wire import WireError
from uvicorn.contrib.exits import End, end_in, explain
from uvicorn.ctl import Values, render

from .caught import assert_nothing_lost
from .helpers import get, get_json, pids, place_with_spaces, program, until, until_held_by

xmlrpc = pytest.importorskip("supervisor.xmlrpc")

DAEMON = """\
[supervisord]
nodaemon=true
logfile={here}/supervisord.log
pidfile={here}/supervisord.pid
childlogdir={here}
[unix_http_server]
file={here}/s
[supervisorctl]
serverurl=unix://{here}/s
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[include]
files = {here}/conf.d/*.conf
"""


class Supervisor:
    def __init__(self, running: Running, here: Path, port: int) -> None:
        self.running, self.here, self.port = running, here, port

    def ctl(self, *words: str) -> str:
        """Run supervisorctl; returns what it printed."""
        command = [program("supervisorctl"), "-c", str(self.here / "supervisord.conf"), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=in_environment())
        return done.stdout + done.stderr

    def log(self) -> str:
        return "".join(f"== {file.name}\n{file.read_text()}" for file in sorted(self.here.glob("*.log*")))

    def states(self) -> list[str]:
        """Ask as supervisorctl does, without starting a Python each time."""
        transport = xmlrpc.SupervisorTransport(None, None, f"unix://{self.here}/s")
        try:
            with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
                listed: Any = proxy.supervisor.getAllProcessInfo()
                return [str(one["statename"]) for one in listed]
        except (OSError, HTTPException):
            return []  # not up yet
        finally:
            transport.close()

    def until_state(self, state: str, count: int = 1, timeout: float = 60) -> None:
        until(lambda: self.states().count(state) == count, f"{count} {state}", timeout, self.log)

    def loses_nothing(self, act: Callable[[], object], *, moments: int, settled: Callable[[], object]) -> None:
        assert_nothing_lost(
            self.port,
            self.here / "the app",
            act,
            leaving=lambda: self.log().count("Shutting down"),
            moments=moments,
            settled=settled,
            log=self.log,
        )

    def told(self, what: str) -> None:
        until(lambda: what in self.log(), f"{what!r} in a log", log=self.log)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    """Start supervisord on the shipped files of these variants, filled in as `uvicornctl init` does."""
    supervisord = program("supervisord")
    there, commands = place_with_spaces(tmp_path)
    (tmp_path / "conf.d").mkdir()
    port = free_port()
    values = Values(
        directory=str(there),
        commands=commands,
        user="root" if os.getuid() == 0 else os.environ.get("USER", "nobody"),
        port=port,
        run=str(tmp_path),
        logs=str(tmp_path),
    )
    with ExitStack() as stack:

        def start(*variants: str, startsecs: int = 1, startretries: int = 3, **env: str) -> Supervisor:
            for variant in variants:
                for name, text in render("supervisor", variant, values).items():
                    # Only these are others than shipped: the tests do not wait ten seconds for each start.
                    text = text.replace("startsecs=10", f"startsecs={startsecs}")
                    text = text.replace("startretries=3", f"startretries={startretries}")
                    (tmp_path / "conf.d" / name).write_text(text)
            (tmp_path / "supervisord.conf").write_text(DAEMON.format(here=tmp_path))
            command = [supervisord, "-c", str(tmp_path / "supervisord.conf")]
            return Supervisor(stack.enter_context(Running(command=command, cwd=tmp_path, env=env)), tmp_path, port)

        yield start


def the_pid(supervisor: Supervisor, name: str = "web:web") -> int:
    return int(supervisor.ctl("pid", name))


def test_one_master_serves_heals_and_reloads_without_a_loss(supervisor: Callable[..., Supervisor]):
    web = supervisor("master")
    web.until_state("RUNNING")
    first = pids(web.port, 2)
    assert get_json(web.port, "/scope")["server"] == ["127.0.0.1", web.port]
    os.kill(min(first), signal.SIGKILL)
    healed = pids(web.port, 2, without={min(first)})
    master = the_pid(web)

    def settled() -> None:
        pids(web.port, 2, without=healed)
        web.told("Reloaded: ")

    web.loses_nothing(lambda: web.ctl("signal", "HUP", "web:*"), moments=2, settled=settled)
    assert the_pid(web) == master
    web.ctl("stop", "web:*")
    web.until_state("STOPPED")
    assert web.log().count("lifespan ended") >= 4
    web.running.wait_for_descendants(0)
    until_held_by(web.port, set())
    assert web.running.stop() == 0


def test_members_are_restarted_one_by_one_without_a_refused_connection(supervisor: Callable[..., Supervisor]):
    web = supervisor("processes")
    web.until_state("RUNNING", 2)
    before = pids(web.port, 2)
    for member in ("web:web_00", "web:web_01"):  # as the file's own comment has it
        web.loses_nothing(
            lambda member=member: web.ctl("restart", member), moments=1, settled=lambda: web.until_state("RUNNING", 2)
        )
    pids(web.port, 2, without=before)
    victim = min(pids(web.port, 2))
    os.kill(victim, signal.SIGKILL)
    pids(web.port, 2, without={victim})
    web.ctl("stop", "web:*")
    web.until_state("STOPPED", 2)
    web.running.wait_for_descendants(0)
    until_held_by(web.port, set())


def test_each_process_has_a_unix_socket_that_goes_with_it(supervisor: Callable[..., Supervisor]):
    web = supervisor("unix")
    web.until_state("RUNNING", 2)
    paths = [web.here / f"web_{number:02d}.sock" for number in range(2)]
    until(lambda: all(map(answers, paths)), "both answer", log=web.log)
    assert len({get(path).body for path in paths}) == 2
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o660}
    forwarded = get_json(paths[0], "/scope", headers="X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n")
    assert (forwarded["client"], forwarded["scheme"]) == (["9.9.9.9", 0], "https")
    os.kill(int(get(paths[0]).body), signal.SIGKILL)  # it leaves its file behind
    until(lambda: answers(paths[0]), "the successor takes the path over", log=web.log)
    web.ctl("stop", "web:*")
    web.until_state("STOPPED", 2)
    assert not any(path.exists() for path in paths)


def answers(path: Path) -> bool:
    try:
        return get(path).status == 200
    except (OSError, WireError):
        return False


def test_an_app_that_cannot_start_is_fatal_and_the_listener_says_why(supervisor: Callable[..., Supervisor]):
    web = supervisor("master", "exits", startsecs=15, startretries=1, BROKEN="lifespan")
    web.until_state("FATAL")
    web.told("exited: web (exit status 3; not expected)")
    exits = web.here / "exits.log"
    until(lambda: "web given up on after several starts" in exits.read_text(), "the listener's last word", log=web.log)
    why = r"exit status 3: it could not start \(application, lifespan or socket\); it lived \d+ s"
    assert re.search(rf"web ended too soon, is started again \({why}\)", exits.read_text())
    assert "    ERROR:    broken on purpose" in exits.read_text()


def test_the_listener_says_what_killed_a_process_that_is_started_again_at_once(supervisor: Callable[..., Supervisor]):
    web = supervisor("master", "exits")
    web.until_state("RUNNING", 2)
    os.kill(the_pid(web), signal.SIGKILL)
    exits = web.here / "exits.log"
    until(
        lambda: "web ended (terminated by SIGKILL; it lived " in exits.read_text(), "the listener's word", log=web.log
    )


def test_the_listener_says_the_exit_status_of_what_had_been_running():
    info = {"group": "web", "name": "web_00", "start": 10, "stop": 15, "exitstatus": 3, "spawnerr": ""}
    said = explain("PROCESS_STATE_EXITED", info, "one\ntwo\n")
    assert (
        "web:web_00 ended (exit status 3: it could not start (application, lifespan or socket); it lived 5 s)" in said
    )
    assert said.endswith("    one\n    two")
    assert "killed by a signal" in explain("PROCESS_STATE_EXITED", {**info, "exitstatus": -1}, "")
    again = {**info, "start": 16, "exitstatus": 0}
    assert "web:web_00 ended (it has been started again already)" in explain("PROCESS_STATE_EXITED", again, "")


LOG = """\
2026-11-22 17:31:00,001 INFO spawned: 'web' with pid 7
2026-11-22 17:31:04,001 WARN exited: web (exit status 2; not expected)
2026-11-22 17:31:05,001 INFO spawned: 'web' with pid 8
2026-11-22 17:31:05,002 INFO spawned: 'web_00' with pid 9
2026-11-22 17:31:05,003 WARN exited: web_00 (exit status 3; not expected)
2026-11-22 17:31:35,999 WARN exited: web (terminated by SIGKILL (core dumped); not expected)
2026-11-22 17:31:36,100 INFO spawned: 'web' with pid 10
"""


@pytest.mark.parametrize(
    ("pid", "end"),
    [
        ("7", End("exit status 2", 4)),
        ("8", End("terminated by SIGKILL (core dumped)", 30)),
        (None, End("terminated by SIGKILL (core dumped)", 30)),
    ],
)
def test_an_end_is_found_in_supervisords_log(pid: str | None, end: End):
    assert end_in(LOG, "web", pid) == end


def test_an_end_without_its_start_or_no_end_at_all():
    assert end_in(LOG.splitlines()[1], "web") == End("exit status 2", None)
    assert end_in("", "web") is None


def test_a_killed_master_takes_its_workers_along_and_is_started_again(supervisor: Callable[..., Supervisor]):
    web = supervisor("master")
    web.until_state("RUNNING")
    workers = pids(web.port, 2)
    tree = web.running.descendants()  # besides master and workers, whatever else the master runs
    assert {the_pid(web), *workers} <= set(tree)
    os.kill(the_pid(web), signal.SIGKILL)
    until(lambda: not any(map(is_alive, tree)), "the orphans end", log=web.log)
    pids(web.port, 2, without=workers)


def test_supervisord_going_down_leaves_nothing(supervisor: Callable[..., Supervisor]):
    web = supervisor("master")
    web.until_state("RUNNING")
    pids(web.port, 2)
    assert web.running.stop() == 0
    until_held_by(web.port, set())
