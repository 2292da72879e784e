"""Some thousands of requests that are nearly right, to a real server: never a 5xx, a hang, a traceback, or growth."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import Running, Wire

from .cases import REFUSED, VALID
from .harness import GET, ask, usage
from .mutation import mutate

SEEDS = [case.raw for case in [*VALID, *REFUSED] if len(case.raw) < 3_000]
ROUNDS = 1_500
STATUS = re.compile(rb"(?:^|\r\n\r\n|\}\))HTTP/1\.1 (\d\d\d) ")


def exchange(server: Running, raw: bytes, chance: random.Random) -> bytes:
    """Send it, in one to three segments, say that this was all, and read what comes until the server closes."""
    with Wire.connect(server) as wire:
        places = sorted(chance.sample(range(len(raw) + 1), min(len(raw) + 1, chance.choice((0, 0, 1, 2)))))
        try:
            for begin, end in zip([0, *places], [*places, len(raw)], strict=True):
                wire.send(raw[begin:end])
            wire.half_close()
        except OSError:
            pass  # it was refused and closed meanwhile
        return wire.read_until_close()


@pytest.mark.parametrize("seed", range(2))
def test_mutated_requests_are_answered_and_leave_nothing(
    parser: str, uvicorn: Callable[..., Running], seed: int
) -> None:
    server = uvicorn("app:app", "--http", parser, "--no-access-log", cwd=Path(__file__).parent)
    chance = random.Random(f"wire {seed}")
    before = usage(server)
    statuses: set[int] = set()
    for number in range(ROUNDS):
        raw = mutate(chance, SEEDS)
        try:
            answer = exchange(server, raw, chance)
        except TimeoutError as error:
            raise AssertionError(f"no end: {raw!r}: {error}") from None
        found = {int(status) for status in STATUS.findall(answer)}
        assert all(status in (100, 200) or 400 <= status < 500 for status in found), (raw, answer)
        statuses |= found
        if number == ROUNDS // 3:
            before = usage(server)
    assert {200, 400} <= statuses
    assert ask(server, GET).status == 200
    after = usage(server)
    assert after["running"] == 0
    assert after["descriptors"] <= before["descriptors"] + 5
    assert after["rss"] < before["rss"] + 8_000
    assert "Traceback" not in server.log
