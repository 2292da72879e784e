"""Both parsers, given the same bytes, do the same: whatever the bytes are, and wherever the segments end."""

from __future__ import annotations

import random
from typing import Any

import h11
import pytest

from .cases import REFUSED, UNDECIDED, VALID
from .harness import LAST
from .loopback import Client, Outcome
from .mutation import mutate
from .test_segmentation import run

SEEDS = [case.raw for case in [*VALID, *REFUSED] if len(case.raw) < 2_000]


def told(outcome: Outcome) -> Any:
    calls = [(call.scope, call.body, call.whole) for call in outcome.calls]
    return calls, outcome.written, outcome.closed


def check(outcome: Outcome, raw: bytes) -> None:
    assert not outcome.errors, (raw, outcome.errors)
    assert all(status < 500 for status in outcome.answers), (raw, outcome.written)


def test_both_parsers_judge_the_corpus_alike() -> None:
    async def job() -> None:
        httptools, h11 = Client("httptools"), Client("h11")
        for raw in [case.raw for case in [*VALID, *REFUSED]] + UNDECIDED:
            for rest in (b"", LAST):
                for half_close in (False, True):
                    one = await httptools.exchange([raw + rest], half_close=half_close)
                    other = await h11.exchange([raw + rest], half_close=half_close)
                    check(one, raw)
                    assert told(one) == told(other), raw

    run(job)


@pytest.mark.parametrize("seed", range(8))
def test_both_parsers_judge_mutations_alike(seed: int) -> None:
    async def job() -> None:
        httptools, h11 = Client("httptools"), Client("h11")
        chance = random.Random(seed)
        for _ in range(1_000):
            raw = mutate(chance, SEEDS)
            at = chance.randint(0, len(raw))
            pieces = [piece for piece in (raw[:at], raw[at:] + LAST) if piece]
            one = await httptools.exchange(pieces, half_close=True)
            other = await h11.exchange(pieces, half_close=True)
            check(one, raw)
            check(other, raw)
            assert told(one) == told(other), pieces

    run(job)


def read_by_h11(raw: bytes) -> bytes | None:
    """The body of the first request as h11, on its own, reads it; None: it does not."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
    connection.receive_data(raw.lstrip(b"\r\n"))
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return body
            elif not isinstance(event, h11.Request):
                return None
    except h11.RemoteProtocolError:
        return None


@pytest.mark.parametrize("seed", range(2))
def test_what_is_served_is_read_alike_by_another_program(seed: int) -> None:
    """An independent parser takes every request that we serve, and finds the same body in it: nothing to smuggle."""

    async def job() -> None:
        client = Client("httptools")
        chance = random.Random(f"h11 {seed}")
        served = 0
        for _ in range(1_500):
            raw = mutate(chance, SEEDS)
            outcome = await client.exchange([raw])
            if outcome.calls and outcome.calls[0].whole:
                served += 1
                assert read_by_h11(raw) == outcome.calls[0].body, raw
        assert served > 100

    run(job)
