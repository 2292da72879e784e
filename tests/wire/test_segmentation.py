"""Where the segments of a stream end means nothing: the same bytes give the same scope, body and answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from .cases import HOST, REFUSED, SMUGGLED, VALID, Refused, Valid
from .conftest import PARSERS
from .harness import LAST
from .loopback import Client, Outcome

LONGEST = 700
"""Octets: longer requests, which are about limits, are cut at random places instead of everywhere."""

GROUPS = 8


def run(job: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run on a plain asyncio loop."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(job())


def stream(case: Valid | Refused) -> bytes:
    """The request and one behind it: served behind a good one, never read behind a bad one."""
    return case.raw + (LAST if isinstance(case, Valid) else SMUGGLED)


def comparable(outcome: Outcome, case: Valid | Refused | None) -> Any:
    """What must not depend on the segments.

    When a body turns out to be bad, how much of it the application has seen by then is up to the network.
    """
    calls = [
        (call.scope, call.body if call.whole else b"", call.whole or isinstance(case, Refused))
        for call in outcome.calls
    ]
    answer = outcome.written.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    return calls, answer, outcome.closed, outcome.errors


def cuts(raw: bytes) -> list[list[bytes]]:
    """The same bytes in pieces: two, everywhere; and octet by octet."""
    if len(raw) > LONGEST:
        places = sorted(random.Random(len(raw)).sample(range(1, len(raw)), 20))
        return [[raw[:at], raw[at:]] for at in places]
    return [*([raw[:at], raw[at:]] for at in range(1, len(raw))), [raw[at : at + 1] for at in range(len(raw))]]


@pytest.mark.parametrize("group", range(GROUPS))
@pytest.mark.parametrize("parser", PARSERS)
def test_every_request_of_the_corpus_may_be_cut_everywhere(parser: str, group: int) -> None:
    async def job() -> None:
        client = Client(parser)
        for case in [*VALID, *REFUSED][group::GROUPS]:
            raw = stream(case)
            whole = await client.exchange([raw])
            expected = comparable(whole, case)
            assert not whole.errors, case.name
            assert whole.closed, case.name
            if isinstance(case, Valid):
                assert whole.calls[0].body == case.body, case.name
                assert whole.answers == ([200] if case.closes else [200, 200]), case.name
            else:
                assert whole.answers == [case.status], case.name
            for pieces in cuts(raw):
                got = comparable(await client.exchange(pieces), case)
                assert got == expected, f"{case.name}: {[len(piece) for piece in pieces]}: {pieces[:2]}"

    run(job)


CHUNKED = b"3;a=b\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: r\r\n\r\n"
UPGRADE = b"Connection: upgrade\r\nUpgrade: foo\r\n"
BODY = b"GET /smuggled HTTP/1.1\r\n\r\n"
MIXED = b"".join(
    [
        b"GET /0?a=b HTTP/1.1\r\n" + HOST + b"X: y\r\n\r\n",
        b"POST /1 HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
        b"\r\nPOST /2 HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED,
        b"HEAD /3 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"POST /4 HTTP/1.1\r\n" + HOST + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
        b"GET http://other/5 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ]
)


@pytest.mark.parametrize("end", [LAST, b"GET /bad HTTP/1.1\r\n\r\n" + SMUGGLED, b"GET /open HTTP/1.1\r\nHost: a\r\nX"])
@pytest.mark.parametrize("parser", PARSERS)
def test_a_pipelined_stream_may_be_cut_everywhere(parser: str, end: bytes) -> None:
    raw = MIXED + end

    async def job() -> None:
        client = Client(parser)
        whole = await client.exchange([raw])
        expected = comparable(whole, None)
        assert [call.scope["path"] for call in whole.calls[:6]] == ["/0", "/1", "/2", "/3", "/4", "/5"]
        assert [call.scope["path"] for call in whole.calls[6:]] == (["/last"] if end is LAST else [])
        assert not whole.errors
        for at in range(1, len(raw)):
            assert comparable(await client.exchange([raw[:at], raw[at:]]), None) == expected, at
        chance = random.Random(7)
        for _ in range(300):
            places = sorted(chance.sample(range(1, len(raw)), chance.randint(2, 30)))
            pieces = [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True)]
            assert comparable(await client.exchange(pieces), None) == expected, places
        assert comparable(await client.exchange([raw[at : at + 1] for at in range(len(raw))]), None) == expected

    run(job)


def test_the_cost_of_tiny_segments_is_bounded() -> None:
    """A head of 60 KiB octet by octet: as much work as its size, not its square."""

    async def job() -> None:
        client = Client("httptools")
        raw = b"GET / HTTP/1.1\r\n" + HOST + (b"X: " + b"v" * 1_000 + b"\r\n") * 58 + b"\r\n"
        began = time.process_time()
        outcome = await client.exchange([raw[at : at + 1] for at in range(len(raw))])
        assert outcome.answers == [200]
        assert time.process_time() - began < 8, "of which the loop itself takes less than one"

    run(job)
