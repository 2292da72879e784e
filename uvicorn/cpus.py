"""How many processors this process may use, for --workers auto."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import ceil
from pathlib import PurePosixPath

CGROUP_ROOT = "/sys/fs/cgroup"


def worker_count(processors: int, quotas: list[float]) -> int:
    """Return how many workers keep `processors` busy under `quotas` (in processors; every one of them applies).

    A quota of 1.5 gives two workers: with one, half a processor that is paid for would idle.
    """
    return max(1, min([processors, *(ceil(quota) for quota in quotas)]))


def quota_v2(cpu_max: str) -> float | None:
    """Return the processors of a cgroup v2 `cpu.max` ("150000 100000"), None if it is unlimited or unreadable."""
    quota, _, period = cpu_max.strip().partition(" ")
    return _quota(quota, period or "100000")


def quota_v1(quota: str, period: str) -> float | None:
    """Return the processors of cgroup v1's `cpu.cfs_quota_us` and `cpu.cfs_period_us`; a quota of -1 is unlimited."""
    return _quota(quota, period)


def _quota(quota: str, period: str) -> float | None:
    try:
        processors = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return processors if processors > 0 else None


def cgroup_paths(proc_self_cgroup: str) -> dict[str, str]:
    """Return the group of this process in each hierarchy of /proc/self/cgroup; cgroup v2's is under ""."""
    groups = {}
    for line in proc_self_cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def quotas(groups: Mapping[str, str], root: str = CGROUP_ROOT) -> list[float]:
    """Return every processor quota that binds the groups: a group's own, and those of the groups it is in."""
    found: list[float | None] = []
    if "" in groups:
        found += [quota_v2(_read(f"{directory}/cpu.max")) for directory in _up(root, groups[""])]
    if "cpu" in groups:
        found += [
            quota_v1(_read(f"{directory}/cpu.cfs_quota_us"), _read(f"{directory}/cpu.cfs_period_us"))
            for mount in (f"{root}/cpu", f"{root}/cpu,cpuacct")
            for directory in _up(mount, groups["cpu"])
        ]
    return [quota for quota in found if quota is not None]


def _up(root: str, group: str) -> list[str]:
    """The directories of a group and its ancestors. In a container the group is often named as the host sees it, and
    only the root is mounted: directories that do not exist are simply read as unlimited."""
    path = PurePosixPath(group.lstrip("/"))
    names = [path, *path.parents] if ".." not in path.parts else [PurePosixPath(".")]
    return [f"{root}/{name}" for name in names]


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def available() -> int:
    """Return the number of workers for --workers auto: affinity, bounded by the cgroup's quota, at least 1."""
    try:
        processors = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on Linux
        processors = os.cpu_count() or 1
    return worker_count(processors, quotas(cgroup_paths(_read("/proc/self/cgroup"))))
