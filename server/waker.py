"""How a loop that sleeps without a timer learns of what happens outside it: other threads and signals.

Two things are needed. `Waker` lets one coroutine sleep until somebody calls `wake()`, from wherever. `SignalWakeup`
makes the loop return from its wait when a signal comes: the kernel may hand a process-directed signal to any thread,
and Python runs the handler only in the main one, at its next bytecode. A main thread that sleeps in epoll would not
notice; the file descriptor that the C handler writes to ends that sleep. uvloop sets one itself. asyncio does so only
for `loop.add_signal_handler`: that one takes over from ours, serves as well, and goes with the last such handler.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable

_REMOVE = "remove_signal_handler"


class Waker:
    """Lets one coroutine of `loop` sleep until it is woken; a wake-up while nobody sleeps is kept."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._sleeper: asyncio.Future[None] | None = None
        self._woken = False

    def wake(self) -> None:
        """End the sleep, or the next one. For any thread, and for signal handlers."""
        self._woken = True
        self.call_soon(self._release)

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call back in the loop; nothing happens when that is closed. For any thread, and for signal handlers."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(callback)

    async def sleep(self, timeout: float | None = None) -> bool:
        """Sleep until woken (True) or for `timeout` seconds (False); None sleeps for as long as it takes."""
        if not self._woken:
            self._sleeper = self.loop.create_future()
            timer = None if timeout is None else self.loop.call_later(timeout, self._release)
            try:
                # A wake-up between the test above and here has queued a release that runs after we sleep.
                await self._sleeper
            finally:
                self._sleeper = None
                if timer is not None:
                    timer.cancel()
        woken, self._woken = self._woken, False
        return woken

    def _release(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)


class SignalWakeup:
    """Makes `loop` wake up for every signal, whichever thread the kernel gives it to.

    Does nothing outside the main thread, and where somebody has set a wake-up descriptor already.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pair: tuple[socket.socket, socket.socket] | None = None
        if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "set_wakeup_fd"):
            return
        present = signal.set_wakeup_fd(-1)
        if present != -1:
            signal.set_wakeup_fd(present, warn_on_full_buffer=False)
            return
        reader, writer = self._pair = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        try:
            loop.add_reader(reader.fileno(), self._drain, reader)
        except NotImplementedError:  # the Proactor loop of Windows
            self._pair = None
            reader.close()
            writer.close()
            return
        self._set()
        remove = loop.remove_signal_handler

        def remove_signal_handler(number: int) -> bool:
            removed = remove(number)
            self._set()
            return removed

        with contextlib.suppress(AttributeError):  # a loop written in C, which has its own ways
            setattr(loop, _REMOVE, remove_signal_handler)

    def _set(self) -> None:
        """Set our descriptor unless there is another."""
        if self._pair is not None:
            present = signal.set_wakeup_fd(-1)
            # A full buffer means that a wake-up is already due.
            signal.set_wakeup_fd(self._pair[1].fileno() if present == -1 else present, warn_on_full_buffer=False)

    def close(self) -> None:
        """Take the descriptor away again; idempotent."""
        if self._pair is None:
            return
        reader, writer = self._pair
        self._pair = None
        with contextlib.suppress(AttributeError):
            delattr(self._loop, _REMOVE)
        present = signal.set_wakeup_fd(-1)
        if present not in (-1, writer.fileno()):
            signal.set_wakeup_fd(present, warn_on_full_buffer=False)
        if not self._loop.is_closed():
            self._loop.remove_reader(reader.fileno())
        reader.close()
        writer.close()

    @staticmethod
    def _drain(reader: socket.socket) -> None:
        # Reading is all: Python has run the handlers on its way here.
        with contextlib.suppress(BlockingIOError):
            reader.recv(4096)
