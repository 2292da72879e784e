"""uvicorn.supervisors as other packages use it: each test is the way of one of them, in its own words."""

from __future__ import annotations

import inspect
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.reload.helpers import DEADLINE, get, save, until_gone, until_served, versioned
from tests.support.processes import PYTHON, Running, free_port
from uvicorn.config import Config
from uvicorn.supervisors import ChangeReload, Multiprocess
from uvicorn.supervisors.basereload import BaseReload, _display_path
from uvicorn.supervisors.multiprocess import SIGNALS, Process
from uvicorn.supervisors.statreload import StatReload


@pytest.fixture
def program(uvicorn: Callable[..., Running], tmp_path: Path) -> Callable[..., Running]:
    """Run a program of these lines under `if __name__ == "__main__":`, with `config` and `sock` made."""

    def run(
        definitions: str,
        lines: str,
        *,
        config: str = "",
        ready: str | None = "Application startup complete",
        app: str = versioned("one"),
        **more: Any,
    ) -> Running:
        port = free_port()
        source = f"""\
import sys
import uvicorn
from uvicorn.supervisors import ChangeReload, Multiprocess
from uvicorn.supervisors.multiprocess import Process
{definitions}
if __name__ == "__main__":
    config = uvicorn.Config("app:app", port=int(sys.argv[-1]), {config})
    sock = config.bind_socket()
"""
        source += "".join(f"    {line}\n" for line in lines.splitlines())
        (tmp_path / "program.py").write_text(source)
        command = (PYTHON, "program.py", str(port))
        return uvicorn("--port", port, command=command, app=app, ready=ready, **more)

    return run


# -- signatures --------------------------------------------------------------------------------------------------------


def test_signatures_are_those_that_packages_branch_on():
    def parameters(function: Callable[..., Any]) -> list[str]:
        return list(inspect.signature(function).parameters)

    assert parameters(Multiprocess.__init__) == ["self", "config", "sockets"]  # shiny, litellm and faststream look
    assert parameters(Process.__init__) == ["self", "config", "sockets"]
    for reloader in (BaseReload, ChangeReload, StatReload):
        assert parameters(reloader.__init__) == ["self", "config", "target", "sockets"]
    assert inspect.signature(Process.is_alive).parameters["timeout"].default == 5


def test_what_upstream_has_is_there():
    config = Config("app:app", log_config=None, workers=3)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        manager = Multiprocess(config, sockets=[])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (manager.config, manager.sockets, manager.processes, manager.processes_num) == (config, [], [], 3)
    assert manager.signal_queue == []
    assert isinstance(manager.should_exit, threading.Event)
    for name in [
        "init_processes",
        "terminate_all",
        "join_all",
        "restart_all",
        "run",
        "keep_subprocess_alive",
        "handle_signals",
    ]:
        assert callable(getattr(manager, name)), name
    for name in ["int", "term", "hup", "ttin", "ttou"]:
        assert callable(getattr(manager, f"handle_{name}")), name
    manager.signal_queue.append(signal.SIGTERM)
    manager.handle_signals()
    assert manager.should_exit.is_set()
    for name in [
        "ping",
        "pong",
        "always_pong",
        "is_alive",
        "is_ready",
        "wait_until_ready",
        "start",
        "terminate",
        "kill",
        "join",
    ]:
        assert callable(getattr(Process, name)), name


def test_a_reloader_has_its_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("")
    config = Config("app:app", log_config=None, reload=True)
    reloader = ChangeReload(config, target=print, sockets=[])
    assert (reloader.config, reloader.target, reloader.sockets) == (config, print, [])
    assert (reloader.pid, reloader.is_restarting) == (os.getpid(), False)
    reloader.signal_handler(signal.SIGINT, None)
    assert reloader.should_exit.is_set()
    assert list(StatReload(config, print, []).iter_py_files()) == [tmp_path / "a.py"]
    assert _display_path(tmp_path / "pkg" / "a.py") == "'pkg/a.py'"
    assert _display_path(Path("/elsewhere/a.py")) == "'/elsewhere/a.py'"


def test_main_has_them_too():
    import sys

    import uvicorn  # noqa: F401

    main = sys.modules["uvicorn.main"]
    assert main.ChangeReload is ChangeReload
    assert main.Multiprocess is Multiprocess


# -- the ways of packages ----------------------------------------------------------------------------------------------


def test_nicegui_and_shiny_run_a_reloader_on_a_bound_socket(program, tmp_path):
    """Attributes on a Config subclass, a Server subclass, a callback: all arrive in the child."""
    definitions = """
class CustomServer(uvicorn.Server):
    def run(self, sockets=None):
        print("callback", self.config.callback("x"), flush=True)
        super().run(sockets=sockets)
def callback(value):
    return value * 3
"""
    lines = """\
config.storage_secret, config.callback = "s", callback
server = CustomServer(config=config)
ChangeReload(config, target=server.run, sockets=[sock]).run()
"""
    server = program(definitions, lines, config="reload=True, reload_includes=['*.py'], reload_dirs=['.']")
    assert get(server) == "one"
    save(tmp_path / "app.py", versioned("two"))
    until_served(server, "two")
    server.wait_for("^callback xxx$", count=2)
    assert server.stop() == 0


def test_signals_that_come_late_do_not_break_into_the_end_of_a_child(program):
    """Ctrl-C reaches the child by the terminal and by the reloader; the second may come when its server has ended."""
    definitions = """
class Late(uvicorn.Server):
    def run(self, sockets=None):
        super().run(sockets=sockets)
        import os, signal
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        print("ended in order", flush=True)
"""
    lines = "ChangeReload(config, target=Late(config).run, sockets=[sock]).run()"
    server = program(definitions, lines, config="reload=True")
    assert get(server) == "one"
    os.killpg(server.pid, signal.SIGINT)
    assert server.wait() == 0
    server.wait_for("^ended in order$")
    assert "Traceback" not in server.log


def save_until(server, folder, pattern):
    """Save app.py until the change is seen: a watcher in the parent begins with its first look, and misses the rest."""
    for number in range(200):
        save(folder / "app.py", versioned("two") + f"# {number}\n")
        try:
            server.wait_for(pattern, timeout=0.5)
            return
        except AssertionError:
            continue
    server.wait_for(pattern)


def test_litellm_patches_the_files_that_are_looked_at(program, tmp_path):
    definitions = """
from pathlib import Path
from uvicorn.supervisors.statreload import StatReload
def only_the_app(self):
    yield Path("app.py").resolve()
StatReload.iter_py_files = only_the_app
"""
    lines = "StatReload(config, target=uvicorn.Server(config).run, sockets=[sock]).run()"
    server = program(definitions, lines, config="reload=True, reload_delay=0.05")
    assert get(server) == "one"
    (tmp_path / "other.py").write_text("")
    save_until(server, tmp_path, "^WARNING:  StatReload detected changes in 'app.py'. Reloading...$")
    until_served(server, "two")
    assert "other.py" not in server.log
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    server.wait_for("Stopping reloader process")


def test_a_subclass_replaces_the_decision(program, tmp_path):
    definitions = """
class Mine(ChangeReload):
    def should_restart(self):
        found = super().should_restart()
        if found:
            print("decided", [path.name for path in found], flush=True)
        return found
"""
    server = program(
        definitions,
        "Mine(config, target=uvicorn.Server(config).run, sockets=[sock]).run()",
        config="reload=True, reload_delay=0.05",
    )
    assert get(server) == "one"
    server.wait_for("Application startup complete", timeout=DEADLINE)
    save_until(server, tmp_path, r"^decided \['app.py'\]$")
    until_served(server, "two")
    assert server.stop() == 0


def test_faststream_and_litellm_subclass_the_workers(program):
    """They override init_processes and handlers, and read processes, pids and should_exit."""
    definitions = """
class Pool(Multiprocess):
    def init_processes(self):
        for _ in range(self.processes_num):
            process = Process(self.config, sockets=self.sockets)
            process.start()
            self.processes.append(process)
        print("pids", *[process.pid for process in self.processes], flush=True)
    def handle_hup(self):
        print("hup", len(self.processes), self.should_exit.is_set(), flush=True)
        super().handle_hup()
"""
    server = program(definitions, "Pool(config, sockets=[sock]).run()", config="workers=2")
    server.wait_for("Application startup complete", count=2, timeout=DEADLINE)
    pids = [int(pid) for pid in server.wait_for(r"^pids (\d+ \d+)$")[1].split()]
    assert get(server) == "one"
    os.kill(pids[0], signal.SIGKILL)
    server.wait_for(rf"Child process \[{pids[0]}\] died: killed by SIGKILL", timeout=DEADLINE)
    server.wait_for("Application startup complete", count=3, timeout=DEADLINE)
    server.signal(signal.SIGHUP)
    server.wait_for("^hup 2 False$", timeout=DEADLINE)
    until_gone(pids[1])
    server.wait_for("Application startup complete", count=5, timeout=DEADLINE)
    assert get(server) == "one"
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert "Traceback" not in server.log
    server.wait_for("Stopping parent process")
    server.wait_for_descendants(0)


def test_skypilot_gives_its_workers_a_server_of_its_own(program):
    definitions = """
class Server(uvicorn.Server):
    def run(self, sockets=None):
        print("running mine", flush=True)
        with self.capture_signals():
            from uvicorn._compat import asyncio_run
            asyncio_run(self._serve(sockets), loop_factory=self.config.get_loop_factory())
class Worker(Process):
    def target(self, sockets=None):
        self.server = Server(self.config)
        import threading
        threading.Thread(target=self.always_pong, daemon=True).start()
        self.server.run(sockets)
class Pool(Multiprocess):
    def init_processes(self):
        for _ in range(self.processes_num):
            self.processes.append(Worker(self.config, self.sockets))
            self.processes[-1].start()
"""
    server = program(definitions, "Pool(config, sockets=[sock]).run()", config="workers=2")
    server.wait_for("^running mine$", count=2, timeout=DEADLINE)
    assert get(server) == "one"
    assert server.stop() == 0
    server.wait_for_descendants(0)


def test_sglang_patches_the_default_of_is_alive(program):
    definitions = """
original = Process.is_alive
def is_alive(self, timeout=60):
    print("asked", flush=True)
    return original(self, timeout=60)
Process.is_alive = is_alive
"""
    server = program(definitions, "Multiprocess(config, sockets=[sock]).run()", config="workers=1")
    server.wait_for("^asked$", count=2, timeout=DEADLINE)
    assert server.stop() == 0


def test_workers_that_cannot_start_end_it_with_3(program, tmp_path):
    server = program("", "Multiprocess(config, sockets=[sock]).run()", config="workers=1, factory=True", ready=None)
    assert server.wait(timeout=DEADLINE) == 3
    server.wait_for("failed to start, stopping the parent process")
    server.wait_for_descendants(0)


def test_a_thread_may_end_a_reloader(program):
    lines = """\
import threading, time
reloader = ChangeReload(config, target=uvicorn.Server(config).run, sockets=[sock])
threading.Timer(1.0, reloader.should_exit.set).start()
reloader.run()
print("returned", flush=True)
"""
    server = program("", lines, config="reload=True", ready=None)
    assert server.wait(timeout=DEADLINE) == 0
    server.wait_for("^returned$")
    server.wait_for_descendants(0)


def test_workers_as_they_are_are_those_of_the_master(program):
    """shiny, solara and litellm copy the lines of `uvicorn.run`: what runs then is what `--workers` runs."""
    lines = """\
Multiprocess(config, sockets=[sock]).run()
print("returned", flush=True)
"""
    server = program("", lines, config="workers=2")
    server.wait_for("Application startup complete", count=2, timeout=DEADLINE)
    assert server.log.count("Uvicorn running on") == 1
    pid = int(get(server, "/pid"))
    os.kill(pid, signal.SIGKILL)
    server.wait_for(rf"\[?{pid}\]?.*SIGKILL.*replacing it", timeout=DEADLINE)
    server.wait_for("Application startup complete", count=3, timeout=DEADLINE)
    server.signal(signal.SIGHUP)
    server.wait_for("Application startup complete", count=5, timeout=DEADLINE)
    assert get(server) == "one"
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    server.wait_for("^returned$")
    assert "Traceback" not in server.log
    server.wait_for_descendants(0)


def test_a_thread_may_end_workers_that_are_the_masters(program):
    lines = """\
import threading
workers = Multiprocess(config, sockets=[sock])
threading.Thread(target=lambda: (sys.stdin.readline(), workers.should_exit.set())).start()
workers.run()
print("returned", sock.fileno(), flush=True)
"""
    reader, writer = os.pipe()
    with open(reader), open(writer, "w") as out:
        server = program("", lines, config="workers=2", stdin=reader)
        assert get(server) == "one"
        out.write("end\n")
        out.flush()
        assert server.wait(timeout=DEADLINE) == 0
    server.wait_for("^returned -1$")
    server.wait_for_descendants(0)


def test_workers_that_die_young_are_replaced_with_growing_delays(program):
    """The plain loop of a subclass; the first time at once, then not every lap of the loop."""
    definitions = """
class Mine(Multiprocess):
    def handle_hup(self):
        super().handle_hup()
"""
    app = versioned("one") + "import sys\nif sys.argv[-1] != 'x': print('at import', flush=True); os._exit(7)\n"
    server = program(definitions, "Mine(config, sockets=[sock]).run()", config="workers=1", ready=None, app=app)
    server.wait_for(r"Child process \[\d+\] died: exit code 7$", timeout=DEADLINE)
    server.wait_for(
        r"Child process \[\d+\] died: exit code 7; replacing it in \d+\.\d s$", count=2, timeout=2 * DEADLINE
    )
    server.signal(signal.SIGTERM)
    assert server.wait(timeout=DEADLINE) == 0
    server.wait_for_descendants(0)


def test_get_subprocess_makes_a_process_that_serves(program):
    lines = """\
from uvicorn._subprocess import get_subprocess
process = get_subprocess(config, target=uvicorn.Server(config).run, sockets=[sock])
process.start()
process.join()
print("ended with", process.exitcode, flush=True)
"""
    server = program("", lines)
    until_served(server, "one")  # nobody listens before the child does
    os.kill(int(get(server, "/pid")), signal.SIGTERM)
    server.wait_for("^ended with -15$", timeout=DEADLINE)
    assert server.wait() == 0
