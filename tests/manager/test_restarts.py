from uvicorn.manager.handle import WorkerHandle
from uvicorn.manager.restarts import Restarts


def worker(slot=1, ready_at=None):
    handle = WorkerHandle(id=slot, slot=slot, generation=1, born=0.0)
    handle.ready_at = ready_at
    return handle


def test_a_worker_that_served_long_is_replaced_at_once_however_often():
    restarts = Restarts()
    for now in (100.0, 200.0, 300.0):
        restarts.failed(worker(ready_at=now - 11), [], 3, now)
        assert restarts.not_before == {}
        assert restarts.what_next(worker(), 3, now) == "replacing it"


def test_one_that_dies_young_waits_longer_each_time_and_the_log_says_so():
    restarts = Restarts()
    for _ in range(6):
        restarts.failed(worker(), [], 3, 10.0)
    assert restarts.not_before[1] > 10.5
    assert restarts.what_next(worker(), 3, 10.0).startswith("replacing it in ")


def test_a_slot_that_is_not_wanted_any_more_is_not_filled():
    assert Restarts().what_next(worker(slot=4), 3, 0.0) == ""


def test_others_that_have_settled_are_forgiven_when_it_matters():
    restarts = Restarts()
    for slot in (1, 2, 3) * 3:
        restarts.failed(worker(slot), [], 3, 0.0)
    well = [worker(slot, ready_at=50.0) for slot in (1, 2)]
    restarts.failed(worker(3), well, 3, 70.0)
    assert all(one.settled for one in well)


def test_new_code_starts_without_a_history():
    restarts = Restarts()
    for _ in range(9):
        restarts.failed(worker(), [], 1, 0.0)
    restarts.forget()
    assert restarts.not_before == {}
    restarts.failed(worker(), [], 1, 0.0)
    assert restarts.not_before == {1: 0.0}
