"""What the settings mean for the planner and for recycling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from uvicorn.errors import SettingError
from uvicorn.kinds import MEMORY

from .memory import available, group_limit
from .plan import Limits
from .recipe import GRACE_UNDER_A_MASTER
from .recycling import Recycling

if TYPE_CHECKING:
    from uvicorn.config import Config


def limits(config: Config) -> Limits:
    grace = config.timeout_graceful_shutdown
    boot = config.timeout_worker_boot
    return Limits(
        boot=boot if boot > 0 else math.inf,
        grace=GRACE_UNDER_A_MASTER if grace is None else grace,
    )


def recycling(config: Config) -> Recycling:
    return Recycling(
        lifetime=config.limit_worker_lifetime,
        lifetime_jitter=config.limit_worker_lifetime_jitter,
        memory=memory_limit(config),
    )


def memory_limit(config: Config) -> int:
    """Return the MiB that a worker may take; 0: no limit. A percentage is of all there is, shared by the workers."""
    try:
        given = MEMORY.parse(config.limit_worker_memory)
    except ValueError as error:  # of a program's Config, which nobody has checked
        raise SettingError(f"limit_worker_memory: {error}") from None
    if isinstance(given, str):
        share = available() * int(given.removesuffix("%")) // 100 // max(1, config.workers)
        return max(1, share // 2**20)
    return given or 0


def warnings(config: Config) -> list[str]:
    """Return what the operator should know of these settings here."""
    limit, group = memory_limit(config), group_limit()
    if group is None or isinstance(config.limit_worker_memory, str) or limit * config.workers * 2**20 <= group:
        return []
    return [
        f"limit_worker_memory: {config.workers} workers of {limit} MiB each are more than the {group // 2**20} MiB "
        "that our control group may take: the kernel may kill one before it is replaced (80% would be a share of that)"
    ]
