import os
import struct
import time

import pytest

from uvicorn.manager.scoreboard import ROWS, LayoutError, Scoreboard


@pytest.fixture
def board():
    board = Scoreboard.create()
    yield board
    board.close()


def beat(board, row, connections=0):
    writer = board.writer(row)
    writer.accepting(True)
    writer.beat(lag=0.25, connections=connections, in_flight=2, websockets=1, requests=9)


def test_what_a_worker_writes_the_master_reads(board):
    row = board.claim(7)
    beat(board, row, connections=3)
    board.writer(row).memory(123)
    read = board.read(row)
    assert (read.id, read.connections, read.in_flight, read.websockets, read.requests) == (7, 3, 2, 1, 9)
    assert read.lag == 0.25
    assert read.memory == 123
    assert read.accepting
    assert read.beat <= time.monotonic() < read.beat + 600  # the clock of this machine, in seconds


def test_another_process_sees_the_same_table(board):
    row = board.claim(1)
    pid = os.fork()
    if pid == 0:
        beat(Scoreboard(os.dup(board.fd)), row, connections=5)
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.read(row).connections == 5


def test_rows_are_used_again_and_start_empty(board):
    first, second = board.claim(1), board.claim(2)
    beat(board, first, connections=9)
    board.release(first)
    assert board.claim(3) == first
    assert board.read(first).connections == 0
    assert board.read(first).beat == 0
    assert second != first


def test_a_full_table_still_gives_a_row(board):
    assert len({board.claim(id) for id in range(1, ROWS + 3)}) == ROWS


def test_only_fresh_and_accepting_others_count(board):
    mine, fresh, silent, closed, gone = (board.claim(id) for id in range(1, 6))
    for row, count in ((mine, 1), (fresh, 2), (closed, 4), (gone, 5)):
        beat(board, row, connections=count)
    board.writer(silent).accepting(True)
    board.writer(closed).accepting(False)
    board.release(gone)
    board.writer(fresh).looked()
    board.writer(fresh).looked()
    assert board.rivals(mine, fresh=3.0) == [(2, 2, fresh)]


def test_another_layout_is_refused():
    fd = os.memfd_create("x")
    os.ftruncate(fd, 1 << 20)
    os.pwrite(fd, struct.pack("=Q", 0x7576_0063), 0)
    with pytest.raises(LayoutError, match="0x75760063"):
        Scoreboard(fd)
    os.close(fd)
