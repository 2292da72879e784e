"""`python -m tests.autobahn [--ws ENGINE] [--core]`: all 517 cases against a server of ours, as a table.

With `--url` against any echo server that is listening, say a peer. Exit status 1 if a case fails. Whatever ends it, the
server and the player end with it.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.support.processes import Running, free_port
from tests.websocket.app import ECHO

from .runner import GROUPS, LARGE, play, summary


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn", description=__doc__)
    parser.add_argument("--ws", default="websockets-sansio")
    parser.add_argument("--core", action="store_true", help="only the 337 core cases")
    parser.add_argument("--url", help="of a server that echoes; without, one is started")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one batch")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # the first is ignored where a shell has started us behind it
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    if options.url:
        return run(options.url, options.core, options.timeout)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(ECHO)
        arguments = ["app:app", "--port", str(free_port()), "--ws", options.ws]
        # A ping of ours in a case that takes longer than its interval is counted as a wrong event.
        with Running(*arguments, "--ws-max-size", str(1 << 26), "--ws-ping-interval", "0", cwd=Path(folder)) as server:
            server.wait_for("Uvicorn running on")
            url = f"ws://127.0.0.1:{server.port}"
            print(f"{options.ws} at {url}", flush=True)
            return run(url, options.core, options.timeout)


def run(url: str, core: bool, timeout: float) -> int:
    total: Counter[str] = Counter()
    for name, cases in {**GROUPS, **({} if core else LARGE)}.items():
        start = time.monotonic()
        try:
            verdicts = play(url, cases, timeout)
        except AssertionError as error:
            print(f"{name:32} {error}", flush=True)
            total["failed"] += 1
            continue
        total += summary(verdicts)
        counts = ", ".join(f"{count} {word}" for word, count in summary(verdicts).items())
        print(f"{name:32} {counts}  ({time.monotonic() - start:.1f} s)", flush=True)
        for verdict in verdicts:
            if verdict.word != "strict":
                print(f"    {verdict.case:10} {verdict.behavior} {verdict.close}: {verdict.text}", flush=True)
    print(f"{'all':32} " + ", ".join(f"{count} {word}" for word, count in total.items()))
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
