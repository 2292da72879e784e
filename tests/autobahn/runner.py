"""Run cases of the Autobahn test suite, which the package kosoku plays natively, against a server that is listening.

Each batch runs in a process of its own, with a deadline: a case that never ends, or a crash of the player, is then the
failure of its batch and not the end of the run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import PYTHON, Running

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

PLAYER = Path(__file__).with_name("player.py")


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
        with Running(PLAYER, url, *cases, cwd=PLAYER.parent, command=[PYTHON]) as player:
            status = player.wait(timeout)
        if status == 0:
            return [Verdict(c, b, e, f"{r} {rc}") for c, b, e, r, rc in json.loads(player.stdout)]
        problem = f"the player ended with {status}: {player.stderr[-500:]}"
    raise AssertionError(problem)


def summary(verdicts: Iterable[Verdict]) -> Counter[str]:
    return Counter(verdict.word for verdict in verdicts)
