"""The server of a worker: it reports to the master, takes its commands, and leaves new connections to idler workers."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from types import FrameType
from typing import TYPE_CHECKING

from uvicorn.server import Server

from . import logs
from .balance import Balance, Connections
from .liveness import Thresholds
from .messages import Cancel, Closed, Force, Leaving, Ready, Reopen, Retire, Starting, Stop, Stopping, Unfit
from .process import return_zeros
from .pulse import Pulse

if TYPE_CHECKING:
    from uvicorn.config import Config

    from .channel import Channel
    from .scoreboard import Scoreboard
    from .voice import Voice

logger = logging.getLogger("uvicorn.error")


class WorkerServer(Server):
    """A server that reports to the master and takes its commands."""

    def __init__(self, config: Config, channel: Channel, voice: Voice, board: Scoreboard, row: int) -> None:
        super().__init__(config)
        self._channel = channel
        self._voice = voice
        self._score = board.writer(row)
        self.told = False
        """It drains: by a command of the master's, or by a signal."""
        self._unasked = False
        """By a signal."""
        self._stop_ordered = False
        """The master wants everything to end, not only this worker."""
        self.on_ready = self._report_ready
        self.on_accept_stopped = self._report_closed
        self.heartbeat_period = Thresholds.of_config(config).period
        self.pulse = Pulse(self._score, self.server_state, self.heartbeat_period)
        self.on_heartbeat = self.pulse.beat
        if config.workers > 1:
            self.accept_gate = balance = Balance(board, row, self._count_connections)
            self.server_state.connections = Connections(balance.ended)
        # The limit is not an end: it asks the master for a successor. The server itself knows none.
        limit = self.limit_max_requests
        self.limit_max_requests = None
        self._requests_before_retirement = limit

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        return_zeros(self._loop)
        self._channel.setblocking(False)
        self._loop.add_reader(self._channel.fileno(), self._on_commands)
        lifespan_shutdown = self.lifespan.shutdown

        async def shutdown() -> None:
            self._channel.send(Stopping())
            await lifespan_shutdown()

        self.lifespan.shutdown = shutdown
        self._channel.send(Starting())
        logger.addFilter(self._voice)
        try:
            await super().startup(sockets)
        finally:
            logger.removeFilter(self._voice)
        signal.signal(signal.SIGQUIT, self.handle_exit)

    def _report_ready(self) -> None:
        state = self.server_state
        state.max_requests = self._requests_before_retirement
        state.on_max_requests = self._report_limit
        self._score.accepting(True)
        self._channel.send(Ready())

    def _count_connections(self) -> int:
        connections = self.server_state.connections
        count = len(connections)
        for acceptor in self._acceptors:
            if acceptor.pending:
                count += acceptor.unmade(connections)
        return count

    def _report_limit(self) -> None:
        self._channel.send(Unfit(f"it has answered {self._requests_before_retirement} requests"))

    def _report_closed(self) -> None:
        self._score.accepting(False)
        self._channel.send(Closed())

    def _on_commands(self) -> None:
        for message in self._channel.pending():
            if isinstance(message, Reopen):
                logs.reopen()
                continue
            self.told = True
            if isinstance(message, Retire):
                self.retire()
            elif isinstance(message, Stop):
                self._stop_ordered = True
                self.handle_exit(signal.SIGTERM, None)
            elif isinstance(message, Cancel):
                self.stop_now()
            elif isinstance(message, Force):
                self.should_exit = True
                self.force_exit = True
        if self._channel.at_end:
            # The master is dead. Whoever starts the next one expects our socket to be free.
            os._exit(1)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, whatever the signal and however often it comes: force is the master's to order."""
        super().handle_exit(signal.SIGTERM, frame)
        if not self.told:
            self.told = self._unasked = True
            self._channel.send(Leaving(f"it was sent {signal.Signals(sig).name}"))
        # A signal may be meant for this process alone, while others serve. If it went to all, an order follows.
        self._retiring = not self._stop_ordered

    async def _stop_accepting(self, *, accept_rest: bool) -> None:
        # Who retires leaves the queue to the others; but there are none if the signal was sent to all.
        await super()._stop_accepting(accept_rest=accept_rest or self._unasked)

    def early_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            self.handle_exit(sig, frame)
