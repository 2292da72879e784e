"""Chunked bodies: what is one, what is none, and that no cut of the bytes changes either."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uvicorn.server.body import ChunkedBody
from uvicorn.server.head import Refusal

NEXT = b"GET / HTTP/1.1\r\n"


def decode(*pieces: bytes) -> tuple[bytes, bytes] | str:
    """Feed the pieces; return content and rest, or the word for how it did not end."""
    body = ChunkedBody()
    content = b""
    for index, piece in enumerate(pieces):
        try:
            found, rest = body.feed(piece)
        except Refusal as refusal:
            return "refused" if refusal.status == 400 else str(refusal)
        content += found
        if body.done:
            return content, rest + b"".join(pieces[index + 1 :])
        assert rest == b"", "the rest is empty until the body is done"
    return "more"


def octets(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


GOOD: dict[bytes, bytes] = {
    b"0\r\n\r\n": b"",
    b"5\r\nhello\r\n0\r\n\r\n": b"hello",
    b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n": b"abc",
    b"000000000000000A\r\n0123456789\r\n00\r\n\r\n": b"0123456789",
    b"a\r\n0123456789\r\n0\r\n\r\n": b"0123456789",
    b"2\r\n\r\n\r\n0\r\n\r\n": b"\r\n",
    b"4\r\n0\r\n\r\r\n0\r\n\r\n": b"0\r\n\r",
    b"1;a\r\nx\r\n0;b\r\n\r\n": b"x",
    b'1;a=b;c="d e"\r\nx\r\n0\r\n\r\n': b"x",
    b"1 ;a\r\nx\r\n0\t;\r\n\r\n": b"x",
    b"1;\xff\t\r\nx\r\n0\r\n\r\n": b"x",
    b"0\r\nA: b\r\nc:\r\n\r\n": b"",
    b"1\r\nx\r\n0\r\nTrailer: \xff \t\r\n\r\n": b"x",
}

BAD = [
    b"\r\n",
    b"\n",
    b" 1\r\nx\r\n0\r\n\r\n",
    b"1 \r\nx\r\n0\r\n\r\n",
    b"1\t\r\nx\r\n0\r\n\r\n",
    b"g\r\n",
    b"0x1\r\nx\r\n",
    b"+1\r\nx\r\n",
    b"-1\r\nx\r\n",
    b"1_0\r\n",
    b"\xb2\r\n",
    b"00000000000000001\r\nx\r\n",
    b"10000000000000005\r\nhello\r\n",
    b"1\nx\r\n0\r\n\r\n",
    b"1\rx",
    b"1\r\nx\n0\r\n\r\n",
    b"1\r\nxx\r\n",
    b"1\r\nx\r0",
    b"1\r\nx0\r\n\r\n",
    b"1\r\nx\r\n\r\n0\r\n\r\n",
    b"1;a\nx\r\n",
    b"1;a\rb\r\nx\r\n",
    b"1;\x00\r\nx\r\n",
    b"1;\x7f\r\nx\r\n",
    b"1 a\r\nx\r\n",
    b"1,a\r\nx\r\n",
    b"0\r\nA\r\n\r\n",
    b"0\r\nA : b\r\n\r\n",
    b"0\r\n A: b\r\n\r\n",
    b"0\r\nA: b\r\n c\r\n\r\n",
    b"0\r\n: b\r\n\r\n",
    b"0\r\nA: \x00\r\n\r\n",
    b"0\r\nA: b\nC: d\r\n\r\n",
    b"0\r\nA: b\rC: d\r\n\r\n",
    b"0\r\n\rx",
    b"0\r\n\n",
    NEXT,
]


@pytest.mark.parametrize("raw", list(GOOD))
def test_a_body_is_its_chunks_and_ends_before_the_next_request(raw: bytes) -> None:
    for rest in (b"", NEXT, b"\r\n", b"0"):
        assert decode(raw + rest) == (GOOD[raw], rest)


@pytest.mark.parametrize("raw", BAD)
def test_what_is_no_chunked_body_is_refused(raw: bytes) -> None:
    assert decode(raw) == "refused"
    assert decode(*octets(raw)) == "refused"


@pytest.mark.parametrize("raw", [*GOOD, *BAD])
def test_no_cut_into_three_changes_anything(raw: bytes) -> None:
    data = raw + NEXT
    whole = decode(data)
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            assert decode(data[:first], data[first:second], data[second:]) == whole, (first, second)


@pytest.mark.parametrize("raw", list(GOOD))
def test_no_beginning_of_a_good_body_is_refused(raw: bytes) -> None:
    for end in range(len(raw)):
        assert decode(raw[:end]) == "more"
        assert decode(*octets(raw[:end])) == "more"


def test_content_is_given_out_as_it_arrives() -> None:
    body = ChunkedBody()
    assert body.feed(b"5\r\nhe") == (b"he", b"")
    assert body.feed(b"l") == (b"l", b"")
    assert body.feed(b"lo\r") == (b"lo", b"")
    assert body.feed(b"\n") == (b"", b"")
    assert body.feed(b"1\r\na\r\n1\r\nb") == (b"ab", b"")
    assert body.feed(b"\r\n0\r\n\r") == (b"", b"")
    assert not body.done
    assert body.feed(b"\nrest") == (b"", b"rest")
    assert body.done


def test_a_chunk_may_say_the_largest_length_that_sixteen_digits_can() -> None:
    body = ChunkedBody()
    assert body.feed(b"ffffffffffffffff\r\nabc") == (b"abc", b"")
    assert not body.done


@pytest.mark.parametrize("octet", range(256))
def test_every_octet_of_sizes_extensions_and_trailers(octet: int) -> None:
    x = bytes([octet])
    text = octet == 9 or 0x20 <= octet <= 0x7E or octet >= 0x80
    token = bool(re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]", x))
    size = decode(x + b"\r\n")
    assert size == ("more" if re.fullmatch(rb"[0-9a-fA-F]", x) else "refused")
    assert decode(b"1;" + x + b"\r\n") == ("more" if text else "refused")
    assert decode(b"0\r\nA:" + x + b"\r\n\r\n") == ((b"", b"") if text else "refused")
    assert decode(b"0\r\nA" + x + b":\r\n\r\n") == ((b"", b"") if token or x == b":" else "refused")


# -- Bounds ------------------------------------------------------------------------------------------------------------

OVERHEAD = 16384  # octets, in one message


@pytest.mark.parametrize(
    ("before", "padding"),
    [
        (b"1", b";"),  # an extension
        (b"0\r\nA:", b""),  # a trailer
        (b"1;" + b"a" * 100 + b"\r\nx\r\n0\r\nA:", b""),  # both
    ],
)
def test_overhead_at_its_bound_is_served_and_over_it_refused_wherever_it_is_cut(before: bytes, padding: bytes) -> None:
    def verdict(size: int, *ends: int) -> str:
        data = before + padding + b"a" * size + b"\r\n"
        cuts = [0, *(end % len(data) for end in ends), len(data)]
        found = decode(*(data[a:b] for a, b in itertools.pairwise(cuts)))
        return "served" if found == "more" else str(found)

    bound = max(size for size in range(OVERHEAD - 200, OVERHEAD + 100) if verdict(size) == "served")
    assert OVERHEAD - 120 <= bound <= OVERHEAD + 20
    for cut in (-1, -2, -3, 10):
        assert verdict(bound, cut) == "served", cut
        assert verdict(bound + 1, cut) == "refused", cut


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"1;", b"a" * 1000),
        (b"0\r\nA:", b"a" * 1000),
        (b"", b"1;" + b"a" * 1000 + b"\r\nx\r\n"),
        (b"0\r\n", b"A:" + b"a" * 1000 + b"\r\n"),
        (b"", b"1;" + b"a" * 100 + b"\r\nx\r\n"),
    ],
)
def test_overhead_without_end_is_refused(begin: bytes, piece: bytes) -> None:
    pieces = OVERHEAD // (len(piece) - 25) + 2
    assert decode(begin, *[piece] * (OVERHEAD // (len(piece) + 20) - 2)) == "more"
    assert decode(begin, *[piece] * pieces) == "refused"


def test_many_plain_chunks_are_no_overhead() -> None:
    data = b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
    assert decode(data) == (b"x" * 20_000, b"")


# -- Generated ---------------------------------------------------------------------------------------------------------

sizes = st.sampled_from([b"%x", b"%X", b"0%x", b"%x;a=b", b"%x ; a", b"%x;"])
chunks = st.lists(st.tuples(sizes, st.binary(min_size=1, max_size=12)), max_size=5)
trailers = st.lists(st.sampled_from([b"A: b\r\n", b"x-y:\r\n", b"c:\t\xff\r\n"]), max_size=2)


def cut(data: bytes, ends: list[int]) -> list[bytes]:
    cuts = [0, *sorted(end % (len(data) + 1) for end in ends), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(cuts)]


@settings(max_examples=200, deadline=None)
@given(chunks, trailers, st.binary(max_size=8), st.lists(st.integers(0, 500), max_size=8))
def test_a_body_that_was_encoded_comes_back(
    some: list[tuple[bytes, bytes]], trailing: list[bytes], rest: bytes, ends: list[int]
) -> None:
    raw = b"".join(size % len(data) + b"\r\n" + data + b"\r\n" for size, data in some)
    raw += b"0\r\n" + b"".join(trailing) + b"\r\n"
    expected = (b"".join(data for _, data in some), rest)
    assert decode(*cut(raw + rest, ends)) == expected
    assert decode(*octets(raw + rest)) == expected


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([*GOOD, *BAD]),
    st.integers(0, 40),
    st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"0", b"1", b";", b":", b" ", b"\x00", b"\xff"]),
    st.integers(0, 1),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_a_mutated_body_is_judged_alike_however_it_is_cut(
    raw: bytes, at: int, put: bytes, drop: int, ends: list[int]
) -> None:
    data = raw[:at] + put + raw[at + drop :]
    assert decode(*cut(data, ends)) == decode(data) == decode(*octets(data))
