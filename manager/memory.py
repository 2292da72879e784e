"""How much memory a process takes, and how much all of us may take."""

from __future__ import annotations

import os
from collections.abc import Callable

_NO_LIMIT = 1 << 60
"""Bytes; version 1 of control groups says about 2**63 where there is no limit."""


def memory_of(pid: int) -> int | None:
    """Return the bytes of memory of a process, its share of what it shares included (PSS); None if it is gone."""
    global _reader
    if _reader is None:
        _reader = reader()
    return _reader(pid)


def reader() -> Callable[[int], int | None]:
    """Return psutil's way of reading it where psutil is installed, else ours."""
    try:
        import psutil  # type: ignore[import-untyped,unused-ignore]  # noqa: F401
    except ImportError:
        return from_proc
    return from_psutil


_reader: Callable[[int], int | None] | None = None


def from_psutil(pid: int) -> int | None:
    import psutil

    try:
        process = psutil.Process(pid)
        try:
            return int(process.memory_full_info().pss)
        except psutil.AccessDenied:  # another user's: what it shares counts as if it were its own
            return int(process.memory_info().rss)
    except psutil.Error:
        return None


def from_proc(pid: int, proc: str = "/proc") -> int | None:
    try:
        with open(f"{proc}/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:  # before Linux 4.14, or another user's: what it shares counts as if it were its own
        with open(f"{proc}/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") or None
    except (OSError, ValueError, IndexError):
        return None


def group_limit(proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> int | None:
    """Return the bytes that our control group may take, the narrowest of those above it; None: it has no limit."""
    try:
        with open(f"{proc}/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    found: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            found += _limits(cgroups, path, "memory.max")
        elif "memory" in controllers.split(","):
            found += _limits(f"{cgroups}/memory", path, "memory.limit_in_bytes")
    return min((limit for limit in found if limit < _NO_LIMIT), default=None)


def _limits(root: str, path: str, name: str) -> list[int]:
    """Return the limits of a group and all above it, as far as we see them: in a container only its own is there."""
    found = []
    parts = [part for part in path.split("/") if part]
    for depth in range(len(parts), -1, -1):
        try:
            with open("/".join([root, *parts[:depth], name])) as file:
                found.append(int(file.read()))
        except (OSError, ValueError):  # not there; or "max"
            continue
    return found


def available() -> int:
    """Return the bytes that all of us may take: what our control group allows, else what the machine has."""
    machine = os.sysconf("SC_PAGESIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, group_limit() or machine)
