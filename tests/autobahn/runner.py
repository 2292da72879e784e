"""Run cases of the Autobahn test suite, which the package kosoku plays natively, against a server that is listening.

Each batch runs in a process of its own, with a deadline: a case that never ends, or a crash of the player, is then the
failure of its batch and not the end of the run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

GROUPS = {
    "framing": ["1.*"],
    "pings": ["2.*"],
    "reserved bits": ["3.*"],
    "opcodes": ["4.*"],
    "fragmentation": ["5.*"],
    "UTF-8": ["6.*"],
    "close": ["7.*"],
    "limits: text": ["9.1.*"],
    "limits: binary": ["9.2.*"],
    "limits: fragmented text": ["9.3.*"],
    "limits: fragmented binary": ["9.4.*"],
    "limits: chopped text": ["9.5.*"],
    "limits: chopped binary": ["9.6.*"],
    "limits: round trips of text": ["9.7.*"],
    "limits: round trips of bytes": ["9.8.*"],
    "auto-fragmentation": ["10.*"],
    "compression, small": [f"12.{i}.{j}" for i in range(1, 6) for j in range(1, 4)],
    "compression parameters, small": [f"13.{i}.{j}" for i in range(1, 8) for j in range(1, 4)],
}
"""The 337 core cases."""

LARGE = {
    **{f"compression {i}": [f"12.{i}.{j}" for j in range(4, 19)] for i in range(1, 6)},
    **{f"compression parameters {i}": [f"13.{i}.{j}" for j in range(4, 19)] for i in range(1, 8)},
}
"""The other 180: a thousand messages each, of up to 128 KiB."""

SHORT = ["framing", "pings", "reserved bits", "opcodes", "fragmentation", "UTF-8", "close", "auto-fragmentation"]
"""The 247 that take seconds."""

_PLAY = """
import asyncio, json, os, sys, kosoku
url, cases = sys.argv[1], sys.argv[2:]
async def main():
    try:
        return await kosoku.run_fuzzingclient(url, cases, concurrency=2)
    except kosoku.FailureError as error:
        return error.results
name = lambda value: str(value).rpartition(".")[2]
print(json.dumps([
    [r.case_id, name(r.behavior), name(r.behavior_close), r.result, r.result_close] for r in asyncio.run(main())
]), flush=True)
os._exit(0)  # kosoku 0.1 aborts now and then while the interpreter is taken down
"""


@dataclass(frozen=True)
class Verdict:
    case: str
    behavior: str
    close: str
    text: str

    @property
    def word(self) -> str:
        """`strict`, `non-strict` (allowed, but late), or `failed`. What the suite only informs about is strict."""
        if self.behavior == "NON_STRICT":
            return "non-strict"
        good = {"OK", "INFORMATIONAL"}
        return "strict" if self.behavior in good and self.close in good else "failed"


def play(url: str, cases: Iterable[str], timeout: float) -> list[Verdict]:
    """Play the cases against `url`; AssertionError if the player crashes thrice or takes over `timeout` seconds."""
    cases = list(cases)
    problem = ""
    for _ in range(3):
        try:
            done = subprocess.run(
                [sys.executable, "-c", _PLAY, url, *cases], capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise AssertionError(f"cases {cases} did not end in {timeout} s") from None
        if done.returncode == 0:
            return [Verdict(c, b, e, f"{r} {rc}") for c, b, e, r, rc in json.loads(done.stdout)]
        problem = f"the player ended with {done.returncode}: {done.stderr[-500:]}"
    raise AssertionError(problem)


def summary(verdicts: Iterable[Verdict]) -> Counter[str]:
    return Counter(verdict.word for verdict in verdicts)
