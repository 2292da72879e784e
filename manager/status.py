"""What the master tells an operator who asks: the server, and each worker, a line each. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .handle import WorkerHandle
from .plan import Phase, Wish
from .report import seconds
from .scoreboard import Row
from .totals import Totals
from .worker import State


def lines(
    workers: Iterable[WorkerHandle], rows: Mapping[int, Row], wish: Wish, totals: Totals, now: float
) -> list[str]:
    """Return the lines. `rows`: what each worker, by its id, has written last; `totals`: without them."""
    workers = sorted(workers, key=lambda worker: (worker.slot, worker.id))
    return [_server(workers, rows, wish, totals, now), *(_worker(one, rows.get(one.id), now) for one in workers)]


def _server(workers: list[WorkerHandle], rows: Mapping[int, Row], wish: Wish, totals: Totals, now: float) -> str:
    ready = sum(worker.state is State.READY for worker in workers)
    totals = totals.with_living(rows.values())
    phase = "" if wish.phase is Phase.STEADY else f" ({wish.phase.value})"
    return (
        f"Status: generation {wish.target}{phase}, {ready} of {wish.wanted} workers ready; "
        f"in {seconds(now - totals.began)}: {totals.requests} requests, {totals.errors} of them answered 5xx; "
        f"{totals.started} workers started, {totals.lost} lost"
    )


def _worker(worker: WorkerHandle, row: Row | None, now: float) -> str:
    return f"{worker}: " + "; ".join(_facts(worker, row, now))


def _facts(worker: WorkerHandle, row: Row | None, now: float) -> Iterator[str]:
    yield f"generation {worker.generation}, {worker.state.name.lower()} for {seconds(now - worker.since)}"
    if row is None or not row.beat:
        return
    yield f"{row.requests} requests, {row.errors} of them 5xx"
    yield f"{row.connections} connections, {row.websockets} of them WebSockets, {row.in_flight} requests in flight"
    yield f"event loop {row.lag * 1e3:.0f} ms late"
    if row.memory:
        yield f"{row.memory / 2**20:.0f} MiB"
    if row.oldest:
        yield f"oldest request for {seconds(max(0.0, now - row.since))}: {row.oldest}"
