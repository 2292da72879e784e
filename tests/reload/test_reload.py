"""--reload with the real command: what a developer does to his files, and what happens then."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

from tests.reload.helpers import DEADLINE, get, save, start, until_gone, until_served, versioned, watcher_of
from tests.support.processes import PYTHON, free_port


@pytest.fixture
def without_watchfiles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the package is not installed."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "sitecustomize.py").write_text("import sys; sys.modules['watchfiles'] = None")
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(params=["WatchFiles", "StatReload"])
def watched(request: pytest.FixtureRequest) -> dict[str, object]:
    """Arguments of `start` for each way to watch."""
    if request.param == "WatchFiles":
        pytest.importorskip("watchfiles")
        return {}
    return {"env": request.getfixturevalue("without_watchfiles")}


def test_a_saved_file_is_served(uvicorn, tmp_path, watched):
    server = start(uvicorn, **watched)
    assert get(server) == "one"
    save(tmp_path / "app.py", versioned("two"))
    until_served(server, "two")
    save(tmp_path / "app.py", versioned("six"))  # as long as before, and perhaps in the same second
    until_served(server, "six")


def test_the_lines_are_those_that_people_know(uvicorn, tmp_path):
    pytest.importorskip("watchfiles")
    server = start(uvicorn)
    save(tmp_path / "app.py", versioned("two"))
    server.wait_for(r"^INFO:     Reloaded in [\d.]+ s\.$", timeout=DEADLINE)
    assert server.stop() == 0
    pid, port = server.pid, server.port
    assert re.sub(r"\d+ s|process \[(?!%d\])\d+" % pid, "N", server.stderr.replace(f"[{pid}]", "[parent]")).replace(
        "0.N", "N"
    ).replace("N.N", "N").splitlines()[:13] == [
        f"INFO:     Will watch for changes in these directories: ['{tmp_path}']",
        f"INFO:     Uvicorn running on http://127.0.0.1:{port} (Press CTRL+C to quit)",
        "INFO:     Started reloader process [parent] using WatchFiles",
        "INFO:     Started server N]",
        "INFO:     Waiting for application startup.",
        "INFO:     Application startup complete.",
        "WARNING:  WatchFiles detected changes in 'app.py'. Reloading...",
        "INFO:     Shutting down",
        "INFO:     Waiting for application shutdown.",
        "INFO:     Application shutdown complete.",
        "INFO:     Finished server N]",
        "INFO:     Started server N]",
        "INFO:     Waiting for application startup.",
    ]
    assert server.stderr.endswith(f"INFO:     Stopping reloader process [{pid}]\n")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("def app(:\n", r"SyntaxError: invalid syntax"),
        ("import nothing_of_this_name\n", r"ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("raise RuntimeError('the cause')\n", r"RuntimeError: the cause"),
        ("other = 1\n", r'Attribute "app" not found in module "app"'),
    ],
    ids=["syntax", "import", "exception", "attribute"],
)
def test_a_mistake_is_one_block_and_the_next_save_heals(uvicorn, tmp_path, broken, reason):
    server = start(uvicorn)
    before = len(server.log)
    save(tmp_path / "app.py", broken)
    server.wait_for(r"^ERROR:    The application did not start", timeout=DEADLINE, after=before)
    told = server.log[before:]
    assert len(re.findall(reason, told)) == 1, told
    assert told.count("Traceback") == (1 if "Error: " in reason and "Syntax" not in reason else 0), told
    assert "uvicorn/" not in told, "our own frames are none of his business"
    save(tmp_path / "app.py", versioned("two"))
    until_served(server, "two")


def test_a_mistake_at_the_first_start_waits_for_a_save_too(uvicorn, tmp_path):
    server = start(uvicorn, app="def app(:\n")
    server.wait_for("The application did not start", timeout=DEADLINE)
    save(tmp_path / "app.py", versioned("two"))
    until_served(server, "two")
    assert server.stop() == 0


def test_new_and_deleted_files_are_changes(uvicorn, tmp_path, watched):
    server = start(uvicorn, **watched)
    (tmp_path / "other.py").write_text("")
    server.wait_for(r"detected changes in 'other.py'", timeout=DEADLINE)
    server.wait_for("Reloaded in", timeout=DEADLINE)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "inner.py").write_text("")
    server.wait_for(r"detected changes in 'package/inner.py'", timeout=DEADLINE)
    server.wait_for("Reloaded in", timeout=DEADLINE, count=2)
    (tmp_path / "package" / "inner.py").write_text("value = 1\n")
    server.wait_for(r"detected changes in 'package/inner.py'", timeout=DEADLINE, count=2)
    server.wait_for("Reloaded in", timeout=DEADLINE, count=3)
    (tmp_path / "other.py").unlink()
    server.wait_for(r"detected changes in 'other.py'", timeout=DEADLINE, count=2)


def test_a_burst_of_edits_ends_with_the_last_one(uvicorn, tmp_path):
    server = start(uvicorn)
    for number in range(30):
        save(tmp_path / "app.py", versioned(f"v{number}"))
        (tmp_path / f"file{number}.py").write_text("")
    until_served(server, "v29")
    assert server.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_changes_that_come_together_are_gathered_and_their_line_is_short(uvicorn, tmp_path):
    """The watcher is stopped meanwhile: then it finds them together, however slow the machine is."""
    server = start(uvicorn)
    watcher = watcher_of(server)
    os.kill(watcher, signal.SIGSTOP)
    for number in range(30):
        (tmp_path / f"file{number:02}.py").write_text("")
    save(tmp_path / "app.py", versioned("two"))
    os.kill(watcher, signal.SIGCONT)
    until_served(server, "two")
    server.wait_for(r"detected changes in ('[^']+', ){7}'[^']+' and \d+ more\. Reloading\.\.\.$", timeout=DEADLINE)


def test_what_nobody_edits_is_not_watched(uvicorn, tmp_path, watched):
    environment = tmp_path / "env"
    for folder in (".venv", "node_modules/x", ".git", "__pycache__", ".mypy_cache", "env", "secret"):
        (tmp_path / folder).mkdir(parents=True)
    (environment / "pyvenv.cfg").write_text("")
    server = start(uvicorn, "--reload-exclude", "secret", "--reload-exclude", "*_test.py", **watched)
    for folder in (".venv", "node_modules/x", ".git", "__pycache__", ".mypy_cache", "env", "secret"):
        (tmp_path / folder / "file.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden.py").write_text("")
    (tmp_path / "some_test.py").write_text("")
    (tmp_path / "last.py").write_text("")
    server.wait_for("detected changes in 'last.py'", timeout=DEADLINE)
    server.wait_for("Reloaded in", timeout=DEADLINE)
    assert server.log.count("detected changes") == 1, server.log


def test_included_patterns_and_directories_are_watched(uvicorn, tmp_path, watched):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "app.py").write_text(versioned("one"))
    server = uvicorn(
        "app:app",
        *("--reload", "--reload-include", "*.html", "--reload-include", ".env"),
        *("--reload-dir", ".", "--reload-dir", str(elsewhere)),
        ready="Application startup complete",
        cwd=tmp_path / "work",
        **watched,
    )
    for count, file in enumerate((elsewhere / "page.html", tmp_path / "work" / ".env", elsewhere / "x.py"), 1):
        file.write_text("")
        server.wait_for(rf"detected changes in '.*{re.escape(file.name)}'", timeout=DEADLINE)
        server.wait_for("Reloaded in", timeout=DEADLINE, count=count)


def test_open_streams_and_websockets_do_not_hold_a_reload_up(uvicorn, tmp_path):
    websockets = pytest.importorskip("websockets.sync.client")
    server = start(uvicorn)
    stream = socket.create_connection(server.address, timeout=DEADLINE)
    stream.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in stream.recv(4096)
    with stream, websockets.connect(f"ws://127.0.0.1:{server.port}/", open_timeout=DEADLINE) as socket_:
        save(tmp_path / "app.py", versioned("two"))
        until_served(server, "two")
        while stream.recv(65536):
            pass
        with pytest.raises(Exception, match="1012"):
            socket_.recv(timeout=DEADLINE)


def test_clients_wait_while_the_child_changes_and_are_never_refused(uvicorn, tmp_path):
    server = start(uvicorn)
    refused: list[BaseException] = []
    stop = threading.Event()

    def connect() -> None:
        while not stop.wait(0.005):
            try:
                socket.create_connection(server.address, timeout=DEADLINE).close()
            except OSError as error:
                refused.append(error)

    client = threading.Thread(target=connect)
    client.start()
    try:
        for version in ("two", "three"):
            save(tmp_path / "app.py", versioned(version))
            until_served(server, version)
    finally:
        stop.set()
        client.join()
    assert refused == []


def test_a_crash_is_said_and_the_next_change_starts_it_again(uvicorn, tmp_path):
    server = start(uvicorn)
    child = int(get(server, "/pid"))
    os.kill(child, signal.SIGSEGV)
    server.wait_for(rf"^ERROR:    Child process \[{child}\] died: killed by SIGSEGV", timeout=DEADLINE)
    save(tmp_path / "app.py", versioned("two"))
    until_served(server, "two")


def test_sighup_reloads_and_leaves_no_orphan(uvicorn, tmp_path):
    server = start(uvicorn)
    child = int(get(server, "/pid"))
    server.signal(signal.SIGHUP)
    server.wait_for("Received SIGHUP, reloading.", timeout=DEADLINE)
    server.wait_for("Reloaded in", timeout=DEADLINE)
    assert int(get(server, "/pid")) != child
    until_gone(child)
    assert server.stop() == 0
    server.wait_for_descendants(0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's parent-death signal")
def test_the_death_of_the_reloader_ends_all_it_started(uvicorn):
    server = start(uvicorn)
    get(server)
    server.signal(signal.SIGKILL)
    server.wait()
    server.wait_for_descendants(0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_clean(uvicorn, tmp_path, number):
    path = tmp_path / "s"
    server = start(uvicorn, "--uds", path)
    assert get(server) == "one"
    server.signal(number)
    assert server.wait() == 0
    assert "Traceback" not in server.log
    server.wait_for("Application shutdown complete")
    assert not path.exists()
    server.wait_for_descendants(0)


def test_ctrl_c_reaches_the_whole_group_and_is_clean(uvicorn):
    server = start(uvicorn)
    get(server)
    os.killpg(server.pid, signal.SIGINT)
    assert server.wait() == 0
    assert "Traceback" not in server.log
    assert server.log.count("Application shutdown complete") == 1
    server.wait_for_descendants(0)


def test_ctrl_c_while_processes_start_shows_no_traceback(uvicorn, tmp_path):
    """The first child imports, the watcher starts, the next child waits: whatever each of them is at."""
    for number in range(3):
        server = start(uvicorn, app=versioned("one") if number else versioned("none"))
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait() == 0
        assert "Traceback" not in server.log, server.log
        server.wait_for_descendants(0)


def test_a_second_ctrl_c_does_not_wait(uvicorn):
    server = start(uvicorn, "--timeout-graceful-shutdown", "300")
    with socket.create_connection(server.address, timeout=DEADLINE) as stream:
        stream.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in stream.recv(4096)
        server.signal(signal.SIGINT)
        server.wait_for("Shutting down", timeout=DEADLINE)
        server.signal(signal.SIGINT)
        assert server.wait() == 0


def test_what_the_application_registered_with_atexit_runs(uvicorn, tmp_path):
    server = start(uvicorn)
    ending = "import atexit\natexit.register(print, 'at exit', flush=True)\n"
    save(tmp_path / "app.py", ending + versioned("two"))
    until_served(server, "two")
    save(tmp_path / "app.py", versioned("three"))
    server.wait_for("^at exit$", timeout=DEADLINE)


def test_a_taken_port_is_one_line_and_exit_code_3(uvicorn):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = uvicorn("--reload", "--port", taken.getsockname()[1], ready=None)
        assert server.wait() == 3
    assert "address already in use" in server.log
    assert "Traceback" not in server.log


def test_the_env_file_is_read_again_for_each_child(uvicorn, tmp_path):
    pytest.importorskip("dotenv")
    source = versioned("one").replace('version = "one"', 'version = os.environ["GIVEN"]')
    (tmp_path / "vars").write_text("GIVEN=first")
    server = uvicorn("--reload", "--env-file", "vars", app=source, ready="Application startup complete")
    assert get(server) == "first"
    (tmp_path / "vars").write_text("GIVEN=second")
    server.signal(signal.SIGHUP)
    until_served(server, "second")


def test_when_the_system_cannot_watch_the_files_are_looked_at(uvicorn, tmp_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("limited")
    (folder / "watchfiles.py").write_text("def watch(*_, **__):\n    raise OSError('OS file watch limit reached')\n")
    server = start(uvicorn, env={"PYTHONPATH": str(folder)})
    server.wait_for("^WARNING:  WatchFiles cannot watch: OS file watch limit reached", timeout=DEADLINE)
    save(tmp_path / "app.py", versioned("two"))
    server.wait_for("^WARNING:  StatReload detected changes in 'app.py'", timeout=DEADLINE)
    until_served(server, "two")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_watcher_that_dies_is_started_again(uvicorn, tmp_path):
    server = start(uvicorn)
    os.kill(watcher_of(server), signal.SIGKILL)
    server.wait_for("The process that watches the files died: killed by SIGKILL", timeout=DEADLINE)
    save(tmp_path / "app.py", versioned("two"))
    until_served(server, "two")


@pytest.mark.skipif(sys.platform != "linux", reason="the master needs Linux")
def test_workers_are_replaced_one_after_the_other(uvicorn, tmp_path):
    server = start(uvicorn, "--workers", "2", app=versioned("one") + "# workers\n")
    server.wait_for("Application startup complete", count=2, timeout=DEADLINE)
    assert "flag is ignored" not in server.log
    save(tmp_path / "app.py", versioned("two"))
    server.wait_for("WatchFiles detected changes in 'app.py'. Reloading...", timeout=DEADLINE)
    server.wait_for("Reloaded: 2 workers of generation 2", timeout=DEADLINE)
    assert {get(server) for _ in range(10)} == {"two"}
    save(tmp_path / "app.py", "def app(:\n")
    server.wait_for("SyntaxError", timeout=DEADLINE)
    assert {get(server) for _ in range(10)} == {"two"}
    save(tmp_path / "app.py", versioned("three"))
    until_served(server, "three")
    assert server.stop() == 0
    server.wait_for_descendants(0)


@pytest.mark.skipif(sys.platform != "linux", reason="the master needs Linux")
def test_workers_are_replaced_whatever_the_reason_and_whoever_reads(uvicorn, tmp_path):
    server = start(uvicorn, "--workers", "2")
    server.wait_for("Application startup complete", count=2, timeout=DEADLINE)
    (tmp_path / "other.py").write_text("")
    server.wait_for("Reloaded: 2 workers of generation 2", timeout=DEADLINE)
    (tmp_path / "other.py").unlink()
    server.wait_for("Reloaded: 2 workers of generation 3", timeout=DEADLINE)
    assert server.log.count("detected changes in 'other.py'") == 2
    with socket.create_connection(server.address, timeout=DEADLINE) as stream:
        stream.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in stream.recv(4096)
        server.signal(signal.SIGHUP)
        server.wait_for("Reloaded: 2 workers of generation 4", timeout=DEADLINE)
        while stream.recv(65536):
            pass
    assert get(server) == "one"
    assert server.stop() == 0
    server.wait_for_descendants(0)


# -- from Python -------------------------------------------------------------------------------------------------------

PROGRAM = """\
import sys
import uvicorn
if __name__ == "__main__":
    uvicorn.run("app:app", port=int(sys.argv[-1]), reload=True)
"""


def program(uvicorn, tmp_path: Path, source: str, **options):
    port = free_port()
    (tmp_path / "program.py").write_text(source)
    command = (PYTHON, "program.py", str(port))
    server = uvicorn(
        "--port", port, command=command, app=versioned("one"), **{"ready": "Application startup complete", **options}
    )
    return server


def test_run_reloads(uvicorn, tmp_path):
    server = program(uvicorn, tmp_path, PROGRAM)
    assert get(server) == "one"
    save(tmp_path / "app.py", versioned("two"))
    until_served(server, "two")
    save(tmp_path / "app.py", "def app(:\n")
    server.wait_for("^ERROR:    The application did not start", timeout=DEADLINE)
    assert server.log.count("SyntaxError") == 1
    assert "asyncio" not in server.log
    save(tmp_path / "app.py", versioned("three"))
    until_served(server, "three")
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    server.wait_for("Stopping reloader process")
    server.wait_for_descendants(0)


def test_subclasses_of_config_and_server_travel_to_the_child(uvicorn, tmp_path):
    source = """\
import sys
import uvicorn
from uvicorn.supervisors import ChangeReload

class MyConfig(uvicorn.Config):
    extra = None
    def load(self):
        print("loaded with", self.extra, flush=True)
        super().load()

class MyServer(uvicorn.Server):
    def run(self, sockets=None):
        print("running", type(self.config).__name__, flush=True)
        super().run(sockets=sockets)

if __name__ == "__main__":
    config = MyConfig("app:app", port=int(sys.argv[-1]), reload=True)
    config.extra = {"some": "thing"}
    sock = config.bind_socket()
    ChangeReload(config, target=MyServer(config=config).run, sockets=[sock]).run()
    print("returned", flush=True)
"""
    server = program(uvicorn, tmp_path, source)
    assert get(server) == "one"
    save(tmp_path / "app.py", versioned("two"))
    until_served(server, "two")
    server.wait_for("^running MyConfig$", count=2)
    server.wait_for("^loaded with {'some': 'thing'}$", count=2)
    assert server.stop() == 0
    server.wait_for("^returned$")


def test_a_main_module_without_its_guard_is_explained(uvicorn, tmp_path):
    source = 'import sys\nimport uvicorn\nuvicorn.run("app:app", port=int(sys.argv[-1]), reload=True)\n'
    server = program(uvicorn, tmp_path, source, ready=None)
    server.wait_for(r"program\.py, line 3: .*; put the call under: if __name__ == \"__main__\":$", timeout=DEADLINE)
    assert server.stop() == 0
    assert "Traceback" not in server.log


def test_what_cannot_be_pickled_is_one_line_and_exit_code_3(uvicorn, tmp_path):
    source = PROGRAM.replace("reload=True", "reload=True, headers=[('a', 'b')], ssl_context_factory=lambda *_: None")
    server = program(uvicorn, tmp_path, source, ready=None)
    assert server.wait() == 3
    assert "Traceback" not in server.log
    server.wait_for("cannot send the Config")
    server.wait_for_descendants(0)


def test_an_application_object_cannot_be_reloaded(uvicorn, tmp_path):
    source = PROGRAM.replace('"app:app"', "print")
    server = program(uvicorn, tmp_path, source, ready=None)
    assert server.wait() == 3
    server.wait_for("You must pass the application as an import string to enable 'reload' or 'workers'.")
