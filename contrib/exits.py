"""An event listener for supervisord that says why a process died: contrib/supervisor/exits.conf runs it.

The event names the process only. supervisord itself is asked for the rest: its log has the exit status or signal, also
of a process that was started again meanwhile, which getProcessInfo has forgotten by then.
"""

from __future__ import annotations

import os
import re
import sys
import time
from typing import Any, NamedTuple

from uvicorn.errors import STARTUP_FAILURE, USAGE

TAIL = 4000  # bytes of the process's log
LINES = 20
MAIN_TAIL = 20_000  # bytes of supervisord's own
STAMP = r"^(\d+-\d+-\d+ \d+:\d+:\d+),\d+ \w+ "
MEANINGS = {
    f"exit status {STARTUP_FAILURE}": ": it could not start (application, lifespan or socket)",
    f"exit status {USAGE}": ": a setting is wrong",
}


class End(NamedTuple):
    why: str
    """As supervisord says it: "exit status 3", "terminated by SIGKILL"."""
    lived: int | None
    """Seconds; None when its start is not known."""


def end_in(log: str, name: str, pid: str | None = None) -> End | None:
    """Return how a process ended, by supervisord's log: the one with this pid, else the last of this name."""
    line = re.compile(
        STAMP + rf"(?:spawned: '{re.escape(name)}' with pid (\d+)|exited: {re.escape(name)} \((.*); )", re.MULTILINE
    )
    found = start = None
    for stamp, spawned, why in line.findall(log):
        if spawned:
            if found and start and start[1] == pid:
                break
            start = (stamp, spawned)
        else:
            found = End(why, _seconds(stamp) - _seconds(start[0]) if start else None)
    return found


def _seconds(stamp: str) -> int:
    return int(time.mktime(time.strptime(stamp, "%Y-%m-%d %H:%M:%S")))


def explain(event: str, info: dict[str, Any], tail: str, end: End | None = None) -> str:
    """Return what is logged. `event` is PROCESS_STATE_ and a state; `info` is supervisor's getProcessInfo."""
    name = f"{info['group']}:{info['name']}" if info["group"] != info["name"] else info["name"]
    state = event.removeprefix("PROCESS_STATE_")
    text = {"FATAL": "given up on after several starts", "BACKOFF": "ended too soon, is started again"}.get(
        state, "ended"
    )
    end = end or _end_of(info)
    lived = "" if end.lived is None else f"; it lived {end.lived} s"
    head = f"{name} {text} ({end.why}{MEANINGS.get(end.why, '')}{lived})"
    lines = [f"    {line}" for line in tail.splitlines()[-LINES:]]
    return "\n".join([f"{time.strftime('%Y-%m-%d %H:%M:%S')} {head}", *lines])


def _end_of(info: dict[str, Any]) -> End:
    """What getProcessInfo knows of an end."""
    if info["stop"] < info["start"]:
        return End("it has been started again already", None)
    status = info["exitstatus"]
    why = "killed by a signal" if status == -1 else f"exit status {status}" if status else info["spawnerr"]
    return End(why or "exit status 0", info["stop"] - info["start"])


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
            end = end_in(_log_of(server), fields["processname"], fields.get("pid"))
            print(explain(headers["eventname"], info, tail, end), file=sys.stderr, flush=True)
        except Exception as error:
            print(f"{process}: {headers['eventname']} ({error})", file=sys.stderr, flush=True)
        childutils.listener.ok(sys.stdout)


def _log_of(server: Any) -> str:
    """Return the end of supervisord's own log; nothing where it has no file."""
    try:
        return str(server.readLog(-MAIN_TAIL, 0))
    except Exception:
        return ""


if __name__ == "__main__":
    main()
