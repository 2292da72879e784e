"""Carrying an action out: what a worker's table says is to be done becomes a command in its channel, or a signal."""

from __future__ import annotations

import logging
import signal

from .handle import WorkerHandle
from .messages import Cancel, Force, Retire, Stop
from .worker import Action

logger = logging.getLogger("uvicorn.error")

_COMMANDS: dict[Action, type[Retire] | type[Stop] | type[Cancel] | type[Force]] = {
    Action.SEND_RETIRE: Retire,
    Action.SEND_STOP: Stop,
    Action.SEND_CANCEL: Cancel,
    Action.SEND_FORCE: Force,
    Action.SEND_TERM: Stop,  # beside the signal: for the moment between the import and the server's own handler
}
_SIGNALS = {Action.SEND_TERM: signal.SIGTERM, Action.SEND_KILL: signal.SIGKILL}


def deliver(worker: WorkerHandle, action: Action) -> None:
    if action is not Action.NOTHING:
        logger.debug("%s: %s, so: %s", worker, worker.state.name, action.value)
    if action in _COMMANDS:
        worker.channel.send(_COMMANDS[action]())
    if action in _SIGNALS and worker.process is not None:
        worker.process.kill(_SIGNALS[action])
