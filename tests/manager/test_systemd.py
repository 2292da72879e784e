import os
import socket

import pytest

from uvicorn.manager.systemd import Notifier


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(60)
        yield sock, {"NOTIFY_SOCKET": str(tmp_path / "notify")}


def test_ready_is_one_datagram(listener):
    sock, environ = listener
    Notifier(environ).ready()
    assert sock.recv(99) == b"READY=1"


def test_an_abstract_address_works():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0uvicorn-test-notify-{os.getpid()}")
        sock.settimeout(60)
        Notifier({"NOTIFY_SOCKET": f"@uvicorn-test-notify-{os.getpid()}"}).stopping()
        assert sock.recv(99) == b"STOPPING=1"


def test_a_reload_says_when_it_began(listener):
    sock, environ = listener
    Notifier(environ).reloading(0.0)
    first, second = sock.recv(99).decode().split("\n")
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0


def test_a_status_is_said_when_it_changes(listener):
    sock, environ = listener
    notifier = Notifier(environ)
    for text in ("a", "a", "b"):
        notifier.status(text)
    assert [sock.recv(99), sock.recv(99)] == [b"STATUS=a", b"STATUS=b"]


def test_the_watchdog_is_fed_twice_as_often_as_asked(listener):
    sock, environ = listener
    notifier = Notifier(environ | {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "7"}, pid=7)
    notifier.tick(100.0)
    assert sock.recv(99) == b"WATCHDOG=1"
    assert notifier.wake_at == 101.0
    assert Notifier(environ | {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "8"}, pid=7).wake_at == float("inf")


def test_a_long_start_asks_for_patience_until_it_is_ready(listener):
    sock, environ = listener
    notifier = Notifier(environ)
    notifier.starting(50.0)
    notifier.tick(50.0)
    assert sock.recv(99) == b"EXTEND_TIMEOUT_USEC=10000000"
    assert notifier.wake_at == 55.0
    notifier.ready()
    assert notifier.wake_at == float("inf")


def test_nobody_listening_is_no_error(tmp_path):
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    Notifier({}).ready()
    assert Notifier({}).wake_at == float("inf")
