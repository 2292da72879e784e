"""An event listener for supervisord that says why a process died: contrib/supervisor/exits.conf runs it.

The event names the process only; supervisord itself is asked for the exit status and for the end of the log.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

TAIL = 4000  # bytes of the log
LINES = 20


def explain(event: str, info: dict[str, Any], tail: str) -> str:
    """Return what is logged. `event` is PROCESS_STATE_ and a state; `info` is supervisor's getProcessInfo."""
    name = f"{info['group']}:{info['name']}" if info["group"] != info["name"] else info["name"]
    state = event.removeprefix("PROCESS_STATE_")
    lived = max(0, info["stop"] - info["start"])
    status = info["exitstatus"]
    why = {
        3: f"exit status {status}: it could not start (application, lifespan or socket)",
        2: f"exit status {status}: a setting is wrong",
        -1: "killed by a signal",
    }.get(status) or (info["spawnerr"] if status == 0 else f"exit status {status}")
    text = {"FATAL": "given up on after several starts", "BACKOFF": "ended too soon, is started again"}.get(
        state, "ended"
    )
    head = f"{name} {text} ({why}; it lived {lived} s)"
    lines = [f"    {line}" for line in tail.splitlines()[-LINES:]]
    return "\n".join([f"{time.strftime('%Y-%m-%d %H:%M:%S')} {head}", *lines])


def main() -> None:
    """Serve supervisord's event protocol on standard input and output, until it ends."""
    try:
        from supervisor import childutils  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        sys.exit("exits: supervisor is not installed beside this Python: pip install supervisor")
    server = childutils.getRPCInterface(os.environ).supervisor
    while True:
        headers, payload = childutils.listener.wait(sys.stdin, sys.stdout)
        fields = dict(pair.split(":", 1) for pair in payload.split())
        process = f"{fields['groupname']}:{fields['processname']}"
        try:
            info = server.getProcessInfo(process)
            tail = server.tailProcessStdoutLog(process, 0, TAIL)[0]
            print(explain(headers["eventname"], info, tail), file=sys.stderr, flush=True)
        except Exception as error:
            print(f"{process}: {headers['eventname']} ({error})", file=sys.stderr, flush=True)
        childutils.listener.ok(sys.stdout)


if __name__ == "__main__":
    main()
