"""What the log says of a rolling restart that fails."""

from __future__ import annotations

import pytest

from uvicorn.manager import report
from uvicorn.manager.plan import Phase, Wish

CANARY = Wish(wanted=3, target=2, base=1, previous=1, phase=Phase.CANARY)
ROLLING = CANARY._replace(base=2, phase=Phase.ROLLING)


@pytest.mark.parametrize(
    ("before", "preloaded", "older", "whole", "line"),
    [
        (CANARY, False, 3, True, "Reload failed: why; generation 1 stays, all of it"),
        (CANARY, False, 2, False, "Reload failed: why; generation 1 stays, but for the worker that has made room"),
        (ROLLING, True, 2, True, "Reload failed: why; going back to generation 1"),
        (ROLLING, False, 2, True, "Reload is partial: why; 2 workers of an older generation stay"),
        (ROLLING, False, 1, True, "Reload is partial: why; 1 worker of an older generation stays"),
    ],
)
def test_a_failed_restart_says_why_and_what_serves(
    caplog: pytest.LogCaptureFixture, before: Wish, preloaded: bool, older: int, whole: bool, line: str
):
    report.rollout_failed(before, before.failed(2, can_roll_back=preloaded), "why", older, whole=whole)
    assert caplog.messages == [f"{line}; correct the cause and send SIGHUP again"]
