import subprocess
import sys
import textwrap
from types import SimpleNamespace

from uvicorn.manager.witness import requests_inside, split


def test_requests_are_told_in_words():
    busy = SimpleNamespace(
        cycle=SimpleNamespace(
            scope={"method": "GET", "path": "/slow", "query_string": b"a=1", "client": ("10.0.0.9", 5), "type": "http"}
        )
    )
    idle = SimpleNamespace(cycle=None)
    socket = SimpleNamespace(scope={"type": "websocket", "path": "/ws", "query_string": b"", "client": None})
    server = SimpleNamespace(server_state=SimpleNamespace(connections=[busy, idle, socket]))
    assert requests_inside(server) == ["GET /slow?a=1 from 10.0.0.9:5", "WEBSOCKET /ws"]


def test_requests_and_stacks_are_told_apart():
    assert split("Current thread\n  File x\nrequest: GET /\n") == (["GET /"], "Current thread\n  File x")
    assert split("") == ([], "")


def test_signals_that_come_together_do_no_harm():
    """The kernel enters the handler of each from inside the one before."""
    program = """
        import os, signal
        from uvicorn.manager import witness
        witness.install(os.open(os.devnull, os.O_WRONLY))
        beside = [bytearray(600) for _ in range(200)]  # in the memory that lies below a stack that is too small
        taken = []
        numbers = {signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH}
        numbers |= set(range(signal.SIGRTMIN, signal.SIGRTMIN + 20))
        for number in numbers:
            signal.signal(number, lambda number, frame: taken.append(number))
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        for number in numbers:
            os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        assert set(taken) == numbers
        assert not any(map(any, beside))
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
