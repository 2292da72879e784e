"""What the settings mean for the planner and for the watch over workers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .liveness import Thresholds
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


def thresholds(config: Config) -> Thresholds:
    name = "timeout_worker_healthcheck"
    given = config.timeout_worker_healthcheck != 5 if config.given is None else name in config.given
    return Thresholds.of(config.timeout_worker_healthcheck, given=given)


def recycling(config: Config) -> Recycling:
    return Recycling(
        lifetime=config.limit_worker_lifetime,
        lifetime_jitter=config.limit_worker_lifetime_jitter,
        memory=config.limit_worker_memory or 0,
    )
