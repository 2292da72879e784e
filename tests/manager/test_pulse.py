import pytest

from uvicorn.manager import pulse
from uvicorn.manager.pulse import Pulse
from uvicorn.manager.scoreboard import Scoreboard
from uvicorn.manager.witness import first_line
from uvicorn.server.state import ServerState


class Cycle:
    def __init__(self, path):
        self.scope = {"type": "http", "method": "GET", "path": path, "client": ("10.0.0.1", 5)}


class Connection:
    def __init__(self, cycle=None):
        self.cycle = cycle


class WebSocket:
    pass


@pytest.fixture
def board():
    board = Scoreboard.create()
    yield board
    board.close()


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(pulse, "time", clock)
    return clock


def test_the_oldest_request_is_as_old_as_the_beat_that_saw_it_first(board, clock):
    state, number = ServerState(), board.claim(1)
    beats = Pulse(board.writer(number), state)
    first, second = Connection(Cycle("/first")), Connection()
    state.connections = {first, second, WebSocket()}
    beats.beat()
    assert (board.read(number).since, board.read(number).oldest) == (100.0, "GET /first from 10.0.0.1:5")
    second.cycle = Cycle("/second")
    clock.now = 101.0
    beats.beat()
    assert board.read(number).since == 100.0
    first.cycle = Cycle("/another")
    clock.now = 102.0
    beats.beat()
    assert (board.read(number).since, board.read(number).oldest) == (101.0, "GET /second from 10.0.0.1:5")
    first.cycle = second.cycle = None
    clock.now = 103.0
    beats.beat()
    assert (board.read(number).since, board.read(number).oldest) == (0.0, "")


def test_one_that_takes_the_place_of_the_oldest_in_the_same_second_is_named(board, clock):
    state, number = ServerState(), board.claim(1)
    beats = Pulse(board.writer(number), state)
    one, two = Connection(Cycle("/one")), Connection(Cycle("/two"))
    state.connections = {one, two}
    beats.beat()
    named = board.read(number).oldest
    gone = one if "/one" in named else two
    gone.cycle = None
    beats.beat()
    assert board.read(number).oldest != named


def test_a_beat_counts(board, clock):
    state, number = ServerState(), board.claim(1)
    state.total_requests, state.total_errors = 9, 2
    state.connections = {Connection(), WebSocket()}
    beats = Pulse(board.writer(number), state)
    beats.beat()
    clock.now = 101.5
    beats.beat()
    row = board.read(number)
    assert (row.requests, row.errors, row.connections, row.websockets) == (9, 2, 2, 1)
    assert row.lag == 0.5
    assert 1 << 20 < row.memory < 1 << 34


def test_a_first_line_is_one_line_whatever_was_sent():
    scope = {"type": "http", "method": "GET", "path": "/a\nERROR: forged", "query_string": b"x=\xff", "client": None}
    assert first_line(scope) == "GET /a\\nERROR: forged?x=\\xff" or "\n" not in first_line(scope)
    scope["raw_path"] = b"/a%0AERROR"
    assert first_line({**scope, "query_string": b""}) == "GET /a%0AERROR"


def test_a_long_first_line_is_cut_and_readable(board):
    number = board.claim(1)
    board.writer(number).oldest(5.0, "GET /" + "é" * 1000)
    assert board.read(number).oldest.startswith("GET /éé")
    board.writer(number).oldest(6.0, "GET /")
    assert (board.read(number).since, board.read(number).oldest) == (6.0, "GET /")
