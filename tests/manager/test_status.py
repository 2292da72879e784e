from uvicorn.manager import status
from uvicorn.manager.handle import WorkerHandle
from uvicorn.manager.plan import Phase, Wish
from uvicorn.manager.scoreboard import Row
from uvicorn.manager.totals import Totals
from uvicorn.manager.worker import State


def worker(id, slot, state=State.READY):
    handle = WorkerHandle(id=id, slot=slot, generation=1, born=0.0)
    handle.state, handle.pid, handle.since = state, 100 + id, 40.0
    return handle


def row(id, **values):
    plain = {"beat": 99.0, "lag": 0.002, "accepting": True, "connections": 3, "in_flight": 2, "websockets": 1}
    return Row(id, **{**plain, "requests": 7, "memory": 50 << 20, "errors": 1, **values})


def test_a_line_for_the_server_and_one_for_each_worker():
    totals = Totals(began=0.0, requests=10, errors=2, started=3, lost=1)
    workers = [worker(2, slot=2, state=State.BOOTING), worker(1, slot=1)]
    rows = {1: row(1, since=98.0, oldest="GET /slow from 10.0.0.1:5"), 2: row(2, beat=0.0, requests=0, errors=0)}
    assert status.lines(workers, rows, Wish(wanted=2), totals, now=100.0) == [
        "Status: generation 1, 1 of 2 workers ready; in 100 s: 17 requests, 3 of them answered 5xx; "
        "3 workers started, 1 lost",
        "Worker 1 (pid 101): generation 1, ready for 60.0 s; 7 requests, 1 of them 5xx; "
        "3 connections, 1 of them WebSockets, 2 requests in flight; event loop 2 ms late; 50 MiB; "
        "oldest request for 2.0 s: GET /slow from 10.0.0.1:5",
        "Worker 2 (pid 102): generation 1, booting for 60.0 s",
    ]


def test_a_restart_in_progress_is_named():
    line = status.lines([], {}, Wish(wanted=2, target=4, phase=Phase.HALTED), Totals(0.0), now=1.0)[0]
    assert line.startswith("Status: generation 4 (partial), 0 of 2 workers ready")
