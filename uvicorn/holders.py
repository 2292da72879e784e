"""Who holds a port, from /proc (Linux). Asked only when a bind failed, and never fails: not knowing is an answer."""

from __future__ import annotations

import os

_LISTEN = "0A"  # state in /proc/net/tcp


def listening_inodes(table: str, port: int) -> list[str]:
    """Return the inodes of sockets that listen on `port`, from the text of /proc/net/tcp or tcp6."""
    inodes = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
            inodes.append(fields[9])
    return inodes


def who_listens(port: int) -> str | None:
    """Return "pid 3311 (python -m http.server 8000)" for a process that we may look into, else None."""
    inodes: set[str] = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(name) as file:
                inodes.update(listening_inodes(file.read(), port))
        except OSError:
            continue
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in _pids():
        if _holds(pid, wanted):
            return f"pid {pid} ({_command(pid)})"
    return None


def _pids() -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
    except OSError:
        return []


def _holds(pid: int, wanted: set[str]) -> bool:
    directory = f"/proc/{pid}/fd"
    try:
        descriptors = os.listdir(directory)
    except OSError:  # gone, or another user's
        return False
    for descriptor in descriptors:
        try:
            if os.readlink(f"{directory}/{descriptor}") in wanted:
                return True
        except OSError:
            continue
    return False


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().decode(errors="replace").split("\0")
    except OSError:
        return "?"
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(words).strip())
    return text if len(text) <= 80 else text[:77] + "..."
