import os

from uvicorn.manager import recycling
from uvicorn.manager.handle import WorkerHandle
from uvicorn.manager.recycling import Recycling, memory_of


def worker(id=1):
    handle = WorkerHandle(id=id, slot=1, generation=1, born=0.0)
    handle.ready_at, handle.pid = 0.0, os.getpid()
    return handle


def test_without_limits_nobody_goes():
    assert Recycling().verdict(worker(), [], 1e9) == ""


def test_a_life_has_a_length_and_a_jitter_of_its_own():
    limits = Recycling(lifetime=100, lifetime_jitter=50)
    assert limits.verdict(worker(), [], 99.9) == ""
    assert limits.verdict(worker(), [], 150.0) == "it has served for 150 s"
    ends = {next(t for t in range(100, 151) if limits.verdict(worker(id), [], t)) for id in range(20)}
    assert len(ends) > 5


def test_one_large_answer_is_no_leak(monkeypatch):
    sizes = iter([900, 900, 100, 900, 900, 900])
    monkeypatch.setattr(recycling, "memory_of", lambda pid: next(sizes) * 2**20)
    limits, samples, handle = Recycling(memory=500, period=5.0), [], worker()
    verdicts = [limits.verdict(handle, samples, now) for now in (5, 10, 15, 20, 25, 30)]
    assert verdicts == ["", "", "", "", "", "it takes 900 MiB, more than 500 MiB"]


def test_memory_is_measured_once_in_a_while(monkeypatch):
    asked = []
    monkeypatch.setattr(recycling, "memory_of", lambda pid: asked.append(pid) or 0)
    handle = worker()
    for now in range(1, 21):
        Recycling(memory=1).verdict(handle, [], float(now))
    assert len(asked) == 4


def test_the_memory_of_a_process_is_a_number_and_of_nobody_nothing():
    assert 2**20 < memory_of(os.getpid()) < 2**34
    assert memory_of(2**22 + 1) is None
