"""Both parsers, given the same bytes, do the same: whatever the bytes are, and wherever the segments end."""

from __future__ import annotations

import random
from typing import Any

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
