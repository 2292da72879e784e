"""Requests that are nearly right, which find more than random bytes do."""

from __future__ import annotations

import random

DICTIONARY = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"\x00", b"\x0b", b"\x7f", b"\x80", b"\xff", b"\xa0", b" ", b"\t",
    b": ", b":", b",", b";", b"=", b'"',
    b"0", b"00", b"-1", b"+1", b"1e1", b"0x10", b"ffffffffffffffff", b"18446744073709551616",
    b"99999999999999999999", b"0\r\n\r\n", b"0\r\n",
    b"Host: a\r\n", b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\n", b"chunked", b"gzip", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"GET ", b"POST ", b"HEAD ",
    b"CONNECT ", b"OPTIONS * ", b"http://",
    b"//", b"?", b"#", b"%00", b"%zz", b"%", b"..", b"*", b"X: y\r\n", b" folded\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
]  # fmt: skip


def mutate(chance: random.Random, seeds: list[bytes]) -> bytes:
    """One to six random changes to a random seed, or to two of them joined."""
    raw = bytearray(chance.choice(seeds))
    if chance.random() < 0.2:
        raw += chance.choice(seeds)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        at = chance.randrange(len(raw) + 1)
        end = min(len(raw), at + chance.choice((1, 1, 2, 5, 20)))
        match chance.randrange(8):
            case 0:
                raw[at:end] = b""
            case 1:
                raw[at:at] = chance.choice(DICTIONARY)
            case 2:
                raw[at:end] = chance.choice(DICTIONARY)
            case 3:
                raw[at:at] = raw[at:end]
            case 4:
                raw[at:at] = bytes([chance.randrange(256)])
            case 5:
                raw[at : at + 1] = bytes([chance.randrange(256)])
            case 6:
                raw[at : at + 1] = bytes(raw[at : at + 1]).swapcase()
            case 7:
                other = chance.choice(seeds)
                there = chance.randrange(len(other) + 1)
                raw[at:end] = other[there : there + chance.choice((5, 20, 80))]
    return bytes(raw)
