"""Pid file, user, umask, directories, log files, service managers."""

from __future__ import annotations

import contextlib
import os
import pwd
import queue
import signal
import socket
import stat
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.processes.apps import PID, before
from tests.processes.helpers import DEADLINE, alive_of, all_ready, connect, get, request, until, worker_pids
from tests.processes.helpers import start as start_workers
from tests.support.processes import PYTHON
from tests.support.wire import Wire, WireError


def start(uvicorn, *args, app=PID, workers=2, **options):
    return start_workers(uvicorn, *args, app=app, workers=workers, **options)


def test_a_pid_file_names_the_master_and_keeps_a_second_one_out(uvicorn, tmp_path):
    path = tmp_path / "web.pid"
    server = start(uvicorn, "--pid", path)
    assert int(path.read_text()) == server.pid
    second = uvicorn("--workers", "2", "--pid", path, app=PID, ready=None)
    assert second.wait(DEADLINE) == 3
    assert f"belongs to a server that runs (pid {server.pid})" in second.log
    server.stop(DEADLINE)
    assert not path.exists()


def test_log_files_are_opened_again(uvicorn, tmp_path):
    (tmp_path / "log.json").write_text(
        '{"version": 1, "disable_existing_loggers": false,'
        '"handlers": {"file": {"class": "logging.FileHandler", "filename": "web.log"},'
        '             "err": {"class": "logging.StreamHandler"}},'
        '"loggers": {"uvicorn": {"handlers": ["err"], "level": "INFO"},'
        '            "uvicorn.access": {"handlers": ["file"], "level": "INFO", "propagate": false}}}'
    )
    server = uvicorn("--workers", "2", "--log-config", "log.json", app=PID)
    all_ready(server, 2)
    get(server, "/pid")
    until(lambda: (tmp_path / "web.log").stat().st_size, "the request is logged")
    (tmp_path / "web.log").rename(tmp_path / "web.log.1")
    server.signal(signal.SIGUSR1)

    def in_the_new_file() -> bool:  # a worker logs to the old one until it has been told
        get(server, "/pid")
        new = tmp_path / "web.log"
        return new.exists() and new.stat().st_size > 0

    until(in_the_new_file, "requests are logged in the new file", server=server)


def test_log_files_that_cannot_be_opened_again_end_nobody(uvicorn, tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log.json").write_text(
        '{"version": 1, "disable_existing_loggers": false,'
        '"handlers": {"file": {"class": "logging.FileHandler", "filename": "log/web.log"},'
        '             "err": {"class": "logging.StreamHandler"}},'
        '"loggers": {"uvicorn": {"handlers": ["file", "err"], "level": "INFO"}}}'
    )
    server = uvicorn("--workers", "2", "--log-config", "log.json", app=PID)
    all_ready(server, 2)
    (tmp_path / "log").rename(tmp_path / "moved")
    server.signal(signal.SIGUSR1)
    server.wait_for("Received SIGUSR1, opening 0 log files again", DEADLINE)
    server.wait_for("Cannot open a log file again: .*No such file or directory", DEADLINE, count=3)  # and each worker
    assert int(get(server, "/pid")) in worker_pids(server, 2)
    (tmp_path / "moved").rename(tmp_path / "log")
    assert server.stop() == 0
    assert "Stopping parent process" in (tmp_path / "log" / "web.log").read_text()
    assert "Traceback" not in server.log


def test_all_stacks_are_logged_on_request(uvicorn):
    server = start(uvicorn)
    with connect(server) as wire:
        wire.send(request("/sleep/100"))
        server.wait_for("sleeps", DEADLINE)
        server.signal(signal.SIGPWR)
        server.wait_for(r"was asked for its stacks", DEADLINE, count=2)
        server.wait_for("GET /sleep/100 from 127", DEADLINE)
    assert get(server, "/") == b"hello"


def test_all_workers_can_be_retired_and_brought_back(uvicorn):
    server = start(uvicorn)
    server.signal(signal.SIGWINCH)
    until(lambda: not worker_pids(server), "no worker is left", server=server)
    assert server.process.poll() is None
    with connect(server) as wire:
        wire.send(request("/"))
        server.signal(signal.SIGHUP)
        assert wire.read_response().body == b"hello"  # it waited in the queue


def test_a_stop_may_be_delayed_while_all_is_served(uvicorn):
    server = start(uvicorn, "--shutdown-delay", "4")
    server.signal(signal.SIGTERM)
    server.wait_for(r"Received SIGTERM, exiting in 4\S* s", DEADLINE)
    for _ in range(10):
        assert get(server, "/") == b"hello"
    assert server.process.poll() is None
    assert server.wait(DEADLINE) == 0


def test_a_service_manager_hears_of_it_all(uvicorn, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(DEADLINE)
        heard: queue.SimpleQueue[str] = queue.SimpleQueue()

        def listen():  # at once, as systemd does: the kernel keeps ten datagrams only
            with contextlib.suppress(OSError):
                while True:
                    for line in sock.recv(999).decode().split("\n"):
                        heard.put(line)

        threading.Thread(target=listen, daemon=True).start()

        def wait_for(line):
            while heard.get(timeout=DEADLINE) != line:
                pass

        server = start(uvicorn, env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"})
        wait_for("READY=1")
        wait_for("WATCHDOG=1")
        server.signal(signal.SIGHUP)
        wait_for("RELOADING=1")
        wait_for("READY=1")
        (tmp_path / "app.py").write_text("raise RuntimeError")
        server.signal(signal.SIGHUP)
        wait_for("RELOADING=1")
        wait_for("READY=1")
        server.signal(signal.SIGTERM)
        wait_for("STOPPING=1")
        assert server.wait(DEADLINE) == 0


def test_sockets_of_a_socket_unit_are_found(uvicorn, tmp_path):
    with socket.socket() as one, socket.socket() as two:
        for sock in (one, two):
            sock.bind(("127.0.0.1", 0))
            sock.listen()
        low = [os.dup(one.fileno()), os.dup(two.fileno())]
        script = tmp_path / "activate.py"
        script.write_text(
            "import os, sys\n"
            f"os.dup2({low[0]}, 3); os.dup2({low[1]}, 4)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2')\n"
            "os.execv(sys.executable, [sys.executable, '-m', 'uvicorn', 'app:app', '--workers', '2'])\n"
        )
        (tmp_path / "app.py").write_text(PID)
        from tests.support.processes import PYTHON

        server = uvicorn("app:app", "--port", "1", command=[PYTHON, str(script)], pass_fds=low, ready="Started parent")
        all_ready(server, 2)
        for sock in (one, two):
            with Wire.connect(sock.getsockname(), timeout=DEADLINE) as wire:
                assert wire.request(request("/")).body == b"hello"
        server.stop(DEADLINE)
        for fd in low:
            os.close(fd)


def test_workers_have_the_umask_and_the_directory_that_were_asked_for(uvicorn, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    app = before("import os", "os.close(os.open('made', os.O_CREAT | os.O_WRONLY, 0o666))")
    start(uvicorn, "--umask", "027", "--chdir", tmp_path / "elsewhere", "--app-dir", tmp_path, app=app)
    made = tmp_path / "elsewhere" / "made"
    assert stat.S_IMODE(made.stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_workers_run_as_another_user_and_still_die_with_the_master(uvicorn):
    app = before("import os", "os.write(1, f'uid {os.getuid()} {os.getgid()}\\n'.encode())")
    nobody = pwd.getpwnam("nobody")
    # Not in pytest's own directory: whichever pytest starts next shuts that for everybody else.
    with TemporaryDirectory(prefix="served-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "app.py").write_text(app)
        server = start(uvicorn, "--user", "nobody", "--uds", folder / "web.sock", app=app, cwd=folder)
        server.wait_for(f"uid {nobody.pw_uid} {nobody.pw_gid}", DEADLINE, count=2)
        assert (folder / "web.sock").stat().st_uid == nobody.pw_uid
        os.kill(worker_pids(server, 2)[0], signal.SIGKILL)
        all_ready(server, 3)
        pids = server.descendants()
        server.signal(signal.SIGKILL)
        until(lambda: not alive_of(pids), "all are gone")


def test_a_user_that_does_not_exist_is_told(uvicorn):
    server = uvicorn("--workers", "2", "--user", "no-such-user", app=PID, ready=None)
    assert server.wait(DEADLINE) == 3
    assert "user: there is no user 'no-such-user'" in server.log


def test_processes_have_titles_where_setproctitle_is_there(uvicorn):
    pytest.importorskip("setproctitle")
    server = start(uvicorn, "--proc-name", "shop")
    titles = [f"uvicorn: {role} [shop]" for role in ("master", "template", "worker 1", "worker 2")]

    def named() -> bool:
        lines = [Path(f"/proc/{pid}/cmdline").read_text().strip("\0") for pid in server.tree()]
        return sorted(lines) == titles

    until(named, f"processes are called {titles}", server=server)


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_standard_streams_may_be_closed(uvicorn, tmp_path, closed):
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", PYTHON, "-m", "uvicorn"]
    app = PID.replace('if path == "/pid":', 'print("to nowhere", flush=True)\n    if path == "/pid":')
    server = uvicorn("--workers", "2", app=app, command=shell, ready=None)

    def serves(version: bytes) -> bool:
        with contextlib.suppress(OSError, WireError):
            return {get(server, "/version") for _ in range(5)} == {version}
        return False

    until(lambda: serves(b"one"), "it serves", server=server)
    (tmp_path / "app.py").write_text(app.replace('"one"', '"two"'))
    server.signal(signal.SIGHUP)
    until(lambda: serves(b"two"), "it serves the new version", server=server)
    assert server.stop(DEADLINE) == 0


def test_they_may_be_closed_for_a_single_process(uvicorn):
    shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", PYTHON, "-m", "uvicorn"]
    app = PID.replace('if path == "/pid":', 'print("to nowhere", flush=True)\n    if path == "/pid":')
    server = uvicorn(app=app, command=shell, ready=None)

    def serves() -> bool:
        with contextlib.suppress(OSError, WireError):
            return get(server, "/version") == b"one"
        return False

    until(serves, "it serves", server=server)
    assert server.stop(DEADLINE) == -signal.SIGTERM
