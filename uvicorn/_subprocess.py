"""A process that serves, as `multiprocessing` spawns it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from socket import socket
from typing import Any

from uvicorn.config import Config

multiprocessing.allow_connection_pickling()
spawn = multiprocessing.get_context("spawn")


class ExitEvent(threading.Event):
    """An event that also calls back when it is set, for a loop that waits for more than this."""

    on_set: Callable[[], None] | None = None

    def set(self) -> None:
        super().set()
        if self.on_set is not None:
            self.on_set()


def get_subprocess(config: Config, target: Callable[..., None], sockets: list[socket]) -> SpawnProcess:
    """Return a process, not started, that calls `target(sockets=sockets)`; Config and target must pickle."""
    stdin_fileno: int | None
    try:
        stdin_fileno = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # none, or one without a descriptor
        stdin_fileno = None
    arguments: dict[str, Any] = {
        "config": config,
        "target": target,
        "sockets": sockets,
        "stdin_fileno": stdin_fileno,
    }
    return spawn.Process(target=subprocess_started, kwargs=arguments)


def subprocess_started(
    config: Config, target: Callable[..., None], sockets: list[socket], stdin_fileno: int | None
) -> None:
    """Run in the new process: give it its standard input back and its logging, then call the target.

    Where the kernel can, it ends with its parent.
    """
    parent = multiprocessing.parent_process()
    if sys.platform == "linux" and parent is not None and parent.pid is not None:
        from uvicorn.manager.process import die_with_parent

        die_with_parent(parent.pid)
    if stdin_fileno is not None:
        sys.stdin = os.fdopen(stdin_fileno)  # multiprocessing has opened /dev/null instead
    config.configure_logging()
    with contextlib.suppress(KeyboardInterrupt):  # a terminal's Ctrl-C reaches every process of the group
        target(sockets=sockets)
