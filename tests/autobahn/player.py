"""`python player.py URL CASE ...`: play the cases against a server that echoes, and print the verdicts as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING

import kosoku

if TYPE_CHECKING:
    from kosoku._kosoku import CaseResult


async def play(url: str, cases: list[str]) -> list[CaseResult]:
    try:
        return list(await kosoku.run_fuzzingclient(url, cases, concurrency=2))
    except kosoku.FailureError as error:
        return list(error.results)


def name(value: object) -> str:
    return str(value).rpartition(".")[2]


if __name__ == "__main__":
    results = asyncio.run(play(sys.argv[1], sys.argv[2:]))
    print(
        json.dumps([[r.case_id, name(r.behavior), name(r.behavior_close), r.result, r.result_close] for r in results])
    )
    sys.stdout.flush()
    os._exit(0)  # kosoku 0.1 aborts now and then while the interpreter is taken down
