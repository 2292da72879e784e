"""Without a master, pid file, user, umask, directory, title and delayed stop are the process's own matter."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
from pathlib import Path

import pytest

from tests.processes.helpers import DEADLINE, get, until

APP = """\
import asyncio, os

os.write(1, f"imported by {os.getuid()} {os.getgid()} {os.getgroups()} in {os.getcwd()}\\n".encode())

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                os.close(os.open("made", os.O_CREAT | os.O_WRONLY, 0o666))
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                os.write(1, b"shut down\\n")
                return
    body = b"%d" % os.getpid()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""
WAYS = pytest.mark.parametrize("way", [[], ["--reload"]], ids=["single", "reload"])
SERVES = "Uvicorn running on"
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def public():
    """A directory that everybody may enter, with the application; pytest keeps its own from other users."""
    directory = Path(tempfile.mkdtemp(prefix="uvicorn-test-"))
    directory.chmod(0o755)
    (directory / "app.py").write_text(APP)
    (directory / "own").mkdir()
    (directory / "own").chmod(0o777)
    yield directory
    shutil.rmtree(directory)


def serving(uvicorn, *args, **options):
    """Start a server; it has answered when this returns, but for TLS."""
    server = uvicorn(*args, **({"app": APP} | options), ready=SERVES)
    server.wait_for("Application startup complete", DEADLINE)
    if "--ssl-keyfile" not in args:
        assert int(get(server, "/")) in server.tree()
    return server


@WAYS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_pid_file_is_locked_and_gone_at_the_end(uvicorn, tmp_path, way, number):
    path = tmp_path / "web.pid"
    server = serving(uvicorn, *way, "--pid", path)
    assert path.read_text() == f"{server.pid}\n"
    second = uvicorn(*way, "--pid", path, ready=None)
    assert second.wait(DEADLINE) == 3
    assert f"pid: {path} belongs to a server that runs (pid {server.pid})" in second.log
    server.signal(number)
    by_signal = not way and number is signal.SIGTERM  # as it is without a pid file
    assert server.wait(DEADLINE) == (-number if by_signal else 0)
    assert not path.exists()
    assert "shut down" in server.log
    assert "Traceback" not in server.log


def test_a_pid_file_is_gone_when_the_import_is_interrupted(uvicorn, tmp_path):
    path = tmp_path / "web.pid"
    source = "import os, time\nos.write(1, b'importing\\n')\ntime.sleep(600)\n"
    server = uvicorn("--pid", path, app=source, ready="importing")
    server.signal(signal.SIGTERM)
    assert server.wait(DEADLINE) == -signal.SIGTERM
    assert not path.exists()


def test_a_pid_file_is_gone_when_the_start_fails(uvicorn, tmp_path):
    path = tmp_path / "web.pid"
    server = uvicorn("--pid", path, app="raise RuntimeError('the cause')", ready=None)
    assert server.wait(DEADLINE) == 3
    assert "the cause" in server.log
    assert not path.exists()


@WAYS
def test_directory_and_umask_are_those_that_were_asked_for(uvicorn, tmp_path, way, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where `web.sock` is looked for below
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    options = ("--chdir", "elsewhere", "--umask", "027", "--app-dir", tmp_path)
    server = serving(uvicorn, *way, *options, "--uds", "web.sock")
    server.wait_for(f"in {elsewhere}$", DEADLINE)  # written to another stream than what was awaited
    assert stat.S_IMODE((elsewhere / "made").stat().st_mode) == 0o640
    assert (tmp_path / "web.sock").exists()  # paths of ours are those of the directory that we were started in
    server.stop(DEADLINE)
    assert not (tmp_path / "web.sock").exists()


@WAYS
def test_a_directory_that_is_missing_is_told(uvicorn, way):
    server = uvicorn(*way, "--chdir", "nowhere", app=APP, ready=None)
    assert server.wait(DEADLINE) == 2
    assert "there is no file or directory 'nowhere'" in server.log


@WAYS
@ROOT_ONLY
def test_the_application_is_another_users_and_the_socket_too(uvicorn, public, way):
    import pwd

    nobody = pwd.getpwnam("nobody")
    options = ("--user", "nobody", "--chdir", "own", "--app-dir", public, "--uds", public / "web.sock")
    server = serving(uvicorn, "app:app", *way, *options, app=None, cwd=public)
    server.wait_for(f"imported by {nobody.pw_uid} {nobody.pw_gid} ", DEADLINE)
    assert "imported by 0 " not in server.log
    assert (public / "own" / "made").stat().st_uid == nobody.pw_uid
    assert (public / "web.sock").stat().st_uid == nobody.pw_uid
    pid = int(get(server, "/"))
    server.signal(signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists() or pid == server.pid, "the process that serves is gone too")


@ROOT_ONLY
def test_keys_that_only_root_can_read_are_read_before(uvicorn, public, certificates):
    key = public / "key.pem"
    key.write_bytes(certificates.key.read_bytes())
    key.chmod(0o600)
    options = ("--user", "nobody", "--chdir", "own", "--app-dir", public)
    tls = ("--ssl-keyfile", key, "--ssl-certfile", certificates.certificate)
    server = serving(uvicorn, "app:app", *options, *tls, app=None, cwd=public)
    assert "imported by 0 " not in server.log


@WAYS
def test_a_user_that_does_not_exist_is_told(uvicorn, way):
    server = uvicorn(*way, "--user", "no-such-user", app=APP, ready=None)
    assert server.wait(DEADLINE) == 3
    assert "user: there is no user 'no-such-user'" in server.log
    assert "Traceback" not in server.log


@WAYS
def test_who_serves_is_called_as_it_was_asked_for(uvicorn, way):
    pytest.importorskip("setproctitle")
    server = serving(uvicorn, *way, "--proc-name", "shop")
    pid = int(get(server, "/"))
    assert Path(f"/proc/{pid}/cmdline").read_text().strip("\0") == "uvicorn: server [shop]"


@WAYS
def test_a_stop_may_be_delayed_while_all_is_served(uvicorn, way):
    server = serving(uvicorn, *way, "--shutdown-delay", "600")
    server.signal(signal.SIGTERM)
    server.wait_for("Received SIGTERM, exiting in 600 s; until then all is served", DEADLINE)
    server.signal(signal.SIGTERM)  # managers send it twice
    assert get(server, "/")
    server.signal(signal.SIGINT)  # does not wait
    assert server.wait(DEADLINE) == 0
    assert server.log.count("until then all is served") == 1
    assert "shut down" in server.log


@WAYS
def test_a_delayed_stop_comes(uvicorn, way):
    server = serving(uvicorn, *way, "--shutdown-delay", "0.3")
    server.signal(signal.SIGTERM)
    server.wait_for("Received SIGTERM, exiting in 0.3 s; until then all is served", DEADLINE)
    assert server.wait(DEADLINE) == (0 if way else -signal.SIGTERM)
    assert "shut down" in server.log


@pytest.mark.parametrize("way", [["--reload"], ["--workers", "2"]], ids=["reload", "workers"])
def test_a_user_that_does_not_exist_at_a_reload_is_told_and_nothing_changes(uvicorn, tmp_path, way):
    (tmp_path / "uvicorn.toml").write_text("")
    server = serving(uvicorn, *way)
    (tmp_path / "uvicorn.toml").write_text('user = "no-such-user"\n')
    server.signal(signal.SIGHUP)
    server.wait_for("Cannot reload: user: there is no user 'no-such-user'", DEADLINE)
    assert get(server, "/")
    (tmp_path / "uvicorn.toml").write_text("")
    server.signal(signal.SIGHUP)
    server.wait_for("Reloaded", DEADLINE)
    assert get(server, "/")
    assert server.stop(DEADLINE) == 0
