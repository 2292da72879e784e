from __future__ import annotations

import errno
import os
import pty
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.building import ROOT
from tests.support.processes import Running, free_port
from tests.support.wire import Wire
from uvicorn.config import Config
from uvicorn.kinds import Inherited
from uvicorn.listeners import (
    Listener,
    ListenError,
    adopt,
    open_listeners,
    passed_by_systemd,
    running_line,
    running_lines,
)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")


def config(**arguments: Any) -> Config:
    return Config("a:b", **{"log_config": None, "workers": 1, **arguments})


@pytest.fixture
def opened() -> Iterator[Any]:
    """Call it as open_listeners; what it opened is closed at the end."""
    every: list[Listener] = []

    def open_them(**arguments: Any) -> list[Listener]:
        found = open_listeners(config(**arguments))
        every.extend(found)
        return found

    yield open_them
    for listener in every:
        listener.close()


def connects(address: Any) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(30)
        return client.connect_ex(address) == 0


# -- TCP --------------------------------------------------------------------------------------------------------------


def test_binding_is_not_yet_listening(opened: Any):
    (listener,) = opened(port=0)
    address = listener.sock.getsockname()
    assert not connects(address)
    listener.listen(10)
    assert connects(address)
    listener.close()
    assert not connects(address)
    listener.close()


def test_port_0_picks_a_port_and_the_line_names_it(opened: Any):
    (listener,) = opened(port=0)
    port = listener.sock.getsockname()[1]
    assert running_line(listener, config()) == (
        "Uvicorn running on %s://%s:%d (Press CTRL+C to quit)",
        "Uvicorn running on \x1b[1m%s://%s:%d\x1b[0m (Press CTRL+C to quit)",
        ("http", "127.0.0.1", port),
    )
    assert running_line(listener, config(ssl_certfile="x"))[2][0] == "https"


def test_a_tls_context_that_was_put_there_after_the_load_is_shown(opened: Any):
    """kserve does so."""
    (listener,) = opened(port=0)
    loaded = config()
    loaded.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert running_line(listener, loaded)[2][0] == "https"


@needs_ipv6
def test_an_ipv6_host_is_shown_in_brackets(opened: Any):
    (listener,) = opened(host="::1", port=0)
    message, _, arguments = running_line(listener, config(host="::1"))
    assert message % arguments == f"Uvicorn running on http://[::1]:{arguments[2]} (Press CTRL+C to quit)"
    assert listener.address == f"[::1]:{arguments[2]}"


@needs_ipv6
def test_every_address_of_a_host_gets_the_same_port_and_one_line(opened: Any):
    listeners = opened(host="", port=0)
    assert {listener.sock.family for listener in listeners} == {socket.AF_INET, socket.AF_INET6}
    ports = {listener.sock.getsockname()[1] for listener in listeners}
    assert len(ports) == 1
    lines = running_lines(listeners, config(host=""))
    assert [message % arguments for message, _, arguments in lines] == [
        f"Uvicorn running on http://:{ports.pop()} (Press CTRL+C to quit)"
    ]


def test_no_host_is_shown_as_every_address(opened: Any):
    """`os.environ.get("HOST")`, say."""
    nowhere: Any = None
    listener = opened(host=nowhere, port=0)[0]
    assert running_line(listener, config(host=nowhere))[2][1] == "0.0.0.0"


@needs_ipv6
def test_an_ipv6_wildcard_takes_ipv4_only_with_workers(opened: Any):
    for workers, only in ((1, 1), (2, 0)):
        (listener,) = opened(host="::", port=0, workers=workers)
        assert listener.sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == only


def test_a_name_is_resolved_and_shown_as_given(opened: Any):
    listener = opened(host="localhost", port=0)[0]
    message, _, arguments = running_line(listener, config())
    assert (message % arguments).startswith("Uvicorn running on http://localhost:")


def test_several_addresses_are_bound_at_once(opened: Any, tmp_path: Path):
    listeners = opened(bind=["127.0.0.1:0", f"unix:{tmp_path}/s"])
    assert [listener.sock.family for listener in listeners] == [socket.AF_INET, socket.AF_UNIX]


def test_when_one_of_several_fails_nothing_stays_open(tmp_path: Path):
    port = free_port()
    with pytest.raises(ListenError):
        open_listeners(config(bind=[f"unix:{tmp_path}/s", f"127.0.0.1:{port}", "unix:/no/such/directory"]))
    assert not (tmp_path / "s").exists()
    socket.create_server(("127.0.0.1", port)).close()


def test_a_taken_port_names_its_holder():
    program = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    holder = subprocess.Popen(
        [sys.executable, "-c", program + "; sys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        with pytest.raises(ListenError) as caught:
            open_listeners(config(port=port))
    line = str(caught.value)
    assert line.startswith(f"[Errno 98] cannot bind 127.0.0.1:{port}: address already in use by pid {holder.pid} (")
    assert f"({sys.executable}"[:40] in line  # its command, as far as there is room for it
    assert "\n" not in line


def test_two_sockets_may_be_bound_to_a_port_but_one_listens(opened: Any):
    (first,) = opened(port=0)
    port = first.sock.getsockname()[1]
    (second,) = opened(port=port)
    first.listen(5)
    with pytest.raises(ListenError, match="address already in use"):
        second.listen(5)


def not_found(*_: Any, **__: Any) -> Any:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"host": "no-such-host.invalid"}, "cannot resolve host 'no-such-host.invalid': "),
        ({"host": "http://x.invalid"}, "; a host is a name or an address alone, the port is apart (port, or bind)"),
        ({"host": "203.0.113.1"}, "cannot bind 203.0.113.1:8000: this machine has no such address"),
        ({"port": 65536}, "cannot bind 127.0.0.1:65536: a port is from 0 to 65535"),
    ],
)
def test_what_cannot_be_bound_is_one_line(arguments: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch):
    if "invalid" in str(arguments.get("host")):  # a resolver that is not there would be waited for
        monkeypatch.setattr(socket, "getaddrinfo", not_found)
    with pytest.raises(ListenError) as caught:
        open_listeners(config(**arguments))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


# -- UNIX -------------------------------------------------------------------------------------------------------------


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("given", "mode"), [(None, 0o666), (0o600, 0o600), (0o660, 0o660)])
def test_a_unix_socket_has_the_mode_that_was_asked_for(opened: Any, tmp_path: Path, given: int | None, mode: int):
    path = tmp_path / "s"
    (listener,) = opened(uds=str(path), uds_mode=given)
    assert mode_of(path) == mode
    listener.listen(5)
    assert connects(str(path))
    message, _, arguments = running_line(listener, config())
    assert message % arguments == f"Uvicorn running on unix socket {path} (Press CTRL+C to quit)"


def test_the_file_is_removed_at_the_end_and_unlinked_before_it(opened: Any, tmp_path: Path):
    path = tmp_path / "s"
    (listener,) = opened(uds=str(path))
    listener.unlink()
    assert not path.exists()
    assert listener.sock.fileno() != -1
    (other,) = opened(uds=str(path))
    listener.close()
    assert path.exists()
    other.close()
    assert not path.exists()


def test_a_file_that_somebody_else_put_there_stays(opened: Any, tmp_path: Path):
    path = tmp_path / "s"
    (listener,) = opened(uds=str(path))
    path.unlink()
    path.write_text("not ours")
    listener.close()
    assert path.read_text() == "not ours"


def stale(path: Path, mode: int) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    path.chmod(mode)


def test_a_dead_servers_file_is_replaced_and_its_mode_kept(opened: Any, tmp_path: Path):
    path = tmp_path / "s"
    stale(path, 0o640)
    opened(uds=str(path))
    assert mode_of(path) == 0o640
    stale_too = tmp_path / "t"
    stale(stale_too, 0o640)
    opened(uds=str(stale_too), uds_mode=0o600)
    assert mode_of(stale_too) == 0o600


def test_a_live_servers_path_is_an_error_even_with_its_queue_full(opened: Any, tmp_path: Path):
    path = str(tmp_path / "s")
    (live,) = opened(uds=path)
    live.sock.listen(0)
    clients = []
    for _ in range(3):
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        client.connect_ex(path)
        clients.append(client)
    try:
        with pytest.raises(ListenError, match="another process serves on it"):
            open_listeners(config(uds=path))
        assert os.path.exists(path)
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda path: path.write_text("x"), "there is a file at this path; remove it first"),
        (lambda path: path.mkdir(), "there is a directory at this path; remove it first"),
        (lambda path: os.mkfifo(path), "there is a pipe at this path; remove it first"),
        (lambda path: path.symlink_to("elsewhere"), "there is a symbolic link at this path; remove it first"),
    ],
)
def test_what_is_no_socket_is_never_replaced(tmp_path: Path, make: Any, line: str):
    path = tmp_path / "s"
    make(path)
    with pytest.raises(ListenError, match=line):
        open_listeners(config(uds=str(path)))
    assert os.path.lexists(path)


def test_a_path_that_cannot_be_is_one_line(tmp_path: Path):
    with pytest.raises(ListenError, match="there is no directory '/no/such'"):
        open_listeners(config(uds="/no/such/s"))
    with pytest.raises(ListenError, match="too long for a UNIX socket"):
        open_listeners(config(uds=str(tmp_path / ("x" * 120))))


def test_a_directory_that_may_not_be_written_to_is_named_as_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Refused(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", Refused)
    path = tmp_path / "s"
    reason = r"permission denied \(user \d+ must be able to write to the directory\)"
    line = rf"^\[Errno 13\] cannot bind unix:{path}: {reason}$"
    with pytest.raises(ListenError, match=line):
        open_listeners(config(uds=str(path)))


# -- inherited --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_an_inherited_socket_has_its_own_family(tmp_path: Path, family: str):
    path = tmp_path / "s"
    with socket.socket(socket.AF_INET if family == "tcp" else socket.AF_UNIX) as given:
        given.bind(("127.0.0.1", 0) if family == "tcp" else str(path))
        given.listen(7)
        given.set_inheritable(True)
        listener = adopt(given.fileno())
        name = given.getsockname()
        assert listener.sock.family == given.family
        assert listener.sock.fileno() != given.fileno()
        assert not given.get_inheritable()
        assert not listener.sock.get_inheritable()
        assert running_line(listener, config()) == (
            "Uvicorn running on socket %s (Press CTRL+C to quit)",
            "Uvicorn running on socket \x1b[1m%s\x1b[0m (Press CTRL+C to quit)",
            (name,),
        )
        listener.listen(100)
        assert connects(name)
        listener.close()
        assert connects(name)  # it is the other program's socket still
    assert (family == "tcp") or path.exists()


def backlog_of(sock: socket.socket) -> int:
    # struct tcp_info of a listening socket: tcpi_sacked is its backlog
    return int.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)[28:32], sys.byteorder)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
@pytest.mark.parametrize(("arguments", "backlog"), [({}, 7), ({"backlog": 50}, 50)])
def test_an_inherited_backlog_is_kept_unless_one_was_asked_for(opened: Any, arguments: dict[str, int], backlog: int):
    with socket.create_server(("127.0.0.1", 0), backlog=7) as given:
        (listener,) = opened(fd=given.fileno(), **arguments)
        listener.listen(config(**arguments).backlog)
        assert backlog_of(listener.sock) == backlog


def test_a_socket_that_is_only_bound_is_made_to_listen():
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        listener = adopt(given.fileno())
        listener.listen(5)
        assert connects(given.getsockname())
        listener.close()


def descriptor_of(what: str, tmp_path: Path) -> tuple[int, list[Any]]:
    """A descriptor, and what must stay open with it."""
    if what == "file":
        file = (tmp_path / "f").open("w")
        return file.fileno(), [file]
    if what == "pipe":
        ends = os.pipe()
        return ends[0], [os.fdopen(end, "r" if end == ends[0] else "w") for end in ends]
    if what == "terminal":
        master, slave = pty.openpty()
        return slave, [os.fdopen(master, "rb", 0), os.fdopen(slave, "rb", 0)]
    if what == "connection":
        pair = socket.socketpair()
        return pair[0].fileno(), list(pair)
    kind = socket.SOCK_DGRAM if what == "datagram" else socket.SOCK_STREAM
    sock = socket.socket(socket.AF_INET, kind)
    return sock.fileno(), [sock]


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("file", "is not a listening socket but a file; the program that starts us must bind it and pass it on"),
        ("pipe", "is not a listening socket but a pipe"),
        ("terminal", "is not a listening socket but a terminal"),
        ("connection", "is not a listening socket but a connection"),
        ("datagram", "is not a TCP or UNIX stream socket but SOCK_DGRAM"),
        ("unbound", "is a socket that is not bound to any address"),
    ],
)
def test_a_descriptor_that_cannot_listen_is_one_line(tmp_path: Path, what: str, line: str):
    fd, keep = descriptor_of(what, tmp_path)
    try:
        with pytest.raises(ListenError, match=rf"^fd {fd} {line}"):
            adopt(fd)
    finally:
        for one in keep:
            one.close()


def test_a_descriptor_that_is_not_open_is_one_line():
    for fd in (987, 2**40):
        with pytest.raises(ListenError, match=f"^fd {fd}"):
            adopt(fd)


def test_standard_input_becomes_null_and_the_socket_moves_above(tmp_path: Path):
    program = """
import os, sys
from uvicorn.listeners import adopt
listener = adopt(0)
assert listener.sock.fileno() > 2, listener.sock.fileno()
assert not os.get_inheritable(listener.sock.fileno())
assert os.fstat(0).st_rdev == os.stat("/dev/null").st_rdev
assert os.get_inheritable(0)
print(listener.sock.getsockname()[1])
"""
    with socket.create_server(("127.0.0.1", 0)) as given:
        ran = subprocess.run(
            [sys.executable, "-c", program], stdin=given.fileno(), capture_output=True, text=True, timeout=120
        )
        assert ran.stderr == ""
        assert int(ran.stdout) == given.getsockname()[1]


def test_accepting_from_an_adopted_socket_works_from_another_thread():
    with socket.create_server(("127.0.0.1", 0)) as given:
        listener = adopt(given.fileno())
        listener.sock.setblocking(True)
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(listener.sock.accept()[0]))
        thread.start()
        assert connects(given.getsockname())
        thread.join(60)
        accepted.pop().close()
        listener.close()


# -- passed by systemd -------------------------------------------------------------------------------------------------


def variables(**more: str) -> dict[str, str]:
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", **more}


def test_what_systemd_passed_is_found_with_its_names_and_once():
    environ = variables(LISTEN_FDNAMES="web:admin", OTHER="x")
    assert passed_by_systemd(environ) == [Inherited(3, "web"), Inherited(4, "admin")]
    assert environ == {"OTHER": "x"}
    assert passed_by_systemd(environ) == []


def test_what_systemd_passed_without_names_has_the_name_of_the_manual():
    assert passed_by_systemd(variables()) == [Inherited(3, "unknown"), Inherited(4, "unknown")]


def test_variables_of_another_process_are_left_alone():
    environ = variables(LISTEN_PID="1")
    assert passed_by_systemd(environ) == []
    assert environ["LISTEN_FDS"] == "2"


def test_a_count_that_is_no_number_is_one_line():
    with pytest.raises(ListenError, match=r"^LISTEN_FDS: expected a number of sockets, got 'x'$"):
        passed_by_systemd(variables(LISTEN_FDS="x"))


PASS = """
import fcntl, os, sys
given = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 50) for fd in sys.argv[1:3]]
for place, fd in enumerate(given, 3):
    os.dup2(fd, place)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:admin"}
os.execv(sys.executable, [sys.executable, "-m", "uvicorn", *sys.argv[3:]])
"""


def started_as_by_systemd(sockets: list[socket.socket], *options: str, cwd: Path) -> Running:
    fds = [sock.fileno() for sock in sockets]
    command = [sys.executable, "-c", PASS, *map(str, fds)]
    return Running("app:app", *options, command=command, cwd=cwd, pass_fds=fds)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_both_sockets_of_one_unit_are_served(tmp_path: Path, workers: str):
    (tmp_path / "app.py").write_text(SHOW_ENVIRONMENT)
    with socket.create_server(("127.0.0.1", 0)) as web, socket.socket(socket.AF_UNIX) as admin:
        admin.bind(str(tmp_path / "admin"))
        admin.listen()
        with started_as_by_systemd([web, admin], "--workers", workers, cwd=tmp_path) as server:
            server.wait_for("Application startup complete", count=int(workers))
            port = web.getsockname()[1]
            server.wait_for(f"Sockets that systemd passed: web = 127.0.0.1:{port}, admin = unix:{tmp_path}/admin")
            for address in (port, tmp_path / "admin"):
                with Wire.connect(address) as wire:
                    assert wire.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").body == b"[]"
            server.stop()
        assert (tmp_path / "admin").exists()


SHOW_ENVIRONMENT = """
import os
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
    found = sorted(n for n in os.environ if n.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_")))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr(found).encode()})
"""


def test_an_address_that_is_asked_for_goes_before_systemds(tmp_path: Path):
    (tmp_path / "app.py").write_text(SHOW_ENVIRONMENT)
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", 0)) as web,
        socket.create_server(("127.0.0.1", 0)) as other,
        started_as_by_systemd([web, other], "--port", str(port), cwd=tmp_path) as server,
    ):
        server.wait_for("systemd passed 2 sockets, not listened on")
        server.wait_for("Uvicorn running on")
        assert connects(("127.0.0.1", port))


def test_fd_may_be_given_several_times(tmp_path: Path):
    (tmp_path / "app.py").write_text(SHOW_ENVIRONMENT)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        fds = (one.fileno(), two.fileno())
        options = [text for fd in fds for text in ("--fd", str(fd))]
        with Running("app:app", *options, cwd=tmp_path, pass_fds=fds) as server:
            server.wait_for("Uvicorn running on", count=2)
            for sock in (one, two):
                with Wire.connect(sock.getsockname()[1]) as wire:
                    assert wire.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_sockets_that_are_not_ours_are_kept_from_workers(tmp_path: Path):
    (tmp_path / "app.py").write_text((ROOT / "tests" / "contrib" / "app.py").read_text())
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("127.0.0.1", 0)) as foreign:
        fds = (ours.fileno(), foreign.fileno())
        ports = [sock.getsockname()[1] for sock in (ours, foreign)]
        with Running("app:app", "--workers", 2, "--fd", fds[0], cwd=tmp_path, pass_fds=fds) as server:
            server.wait_for("Application startup complete", count=2)
            with Wire.connect(ports[0]) as wire:
                answer = wire.request(b"GET /fds HTTP/1.1\r\nHost: a\r\n\r\n").body.decode()
    assert str(ports[0]) in answer
    assert str(ports[1]) not in answer
