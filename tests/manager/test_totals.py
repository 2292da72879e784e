from uvicorn.manager.scoreboard import Row
from uvicorn.manager.totals import Totals


def row(requests, errors):
    return Row(1, 1.0, 0.0, True, 0, 0, 0, requests, 0, errors)


def test_who_is_gone_still_counts():
    totals = Totals(began=5.0, started=2)
    totals.fold(row(10, 1))
    totals.fold(row(5, 0))
    assert (totals.requests, totals.errors) == (15, 1)


def test_the_living_are_added_and_not_kept():
    totals = Totals(began=5.0, requests=10)
    assert totals.with_living([row(1, 1), row(2, 0)]).requests == 13
    assert totals.requests == 10


def test_another_program_reads_them():
    totals = Totals(began=5.0, requests=1, errors=2, started=3, lost=4)
    assert Totals.from_json(totals.to_json()) == totals
