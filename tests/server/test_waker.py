"""Waking a sleeping loop from threads and signals."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable

import pytest
import uvloop

from uvicorn.server.waker import SignalWakeup, Waker

pytestmark = pytest.mark.parametrize("factory", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
Factory = Callable[[], asyncio.AbstractEventLoop]


def test_wakeup_from_a_thread_ends_the_sleep(factory: Factory) -> None:
    async def main() -> None:
        waker = Waker(asyncio.get_running_loop())
        threading.Timer(0.02, waker.wake).start()
        assert await asyncio.wait_for(waker.sleep(), 60)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def test_wakeup_while_nobody_sleeps_is_kept_once(factory: Factory) -> None:
    async def main() -> None:
        waker = Waker(asyncio.get_running_loop())
        waker.wake()
        waker.wake()
        assert await waker.sleep(60)
        await asyncio.sleep(0.01)
        assert not await waker.sleep(0.01)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def test_wakeup_of_a_closed_loop_is_nothing(factory: Factory) -> None:
    async def main() -> Waker:
        return Waker(asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=factory) as runner:
        waker = runner.run(main())
    waker.wake()


def test_signal_given_to_another_thread_wakes_the_loop(factory: Factory) -> None:
    """With pthread_kill the kernel has no choice; a process-directed signal may land there too."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        waker = Waker(loop)
        before = signal.signal(signal.SIGUSR1, lambda *_: waker.wake())
        wakeup = SignalWakeup(loop)
        try:
            thread = threading.Timer(0.1, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
            thread.start()
            assert await asyncio.wait_for(waker.sleep(), 60)
            thread.join()
        finally:
            wakeup.close()
            wakeup.close()
            signal.signal(signal.SIGUSR1, before)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def current() -> int:
    """The descriptor that signals write to; -1: none."""
    fd = signal.set_wakeup_fd(-1)
    if fd != -1:
        signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    return fd


def test_handler_of_the_application_that_comes_and_goes_leaves_ours_awake(factory: Factory) -> None:
    """asyncio takes the descriptor away with the last handler of `loop.add_signal_handler`."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        waker = Waker(loop)
        before = signal.signal(signal.SIGUSR1, lambda *_: waker.wake())
        wakeup = SignalWakeup(loop)
        try:
            ours = current()
            assert ours != -1
            loop.add_signal_handler(signal.SIGUSR2, lambda: None)
            loop.add_signal_handler(signal.SIGWINCH, lambda: None)
            assert loop.remove_signal_handler(signal.SIGUSR2)
            assert loop.remove_signal_handler(signal.SIGWINCH)
            assert not loop.remove_signal_handler(signal.SIGWINCH)
            assert current() == ours
            thread = threading.Timer(0.1, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
            thread.start()
            assert await asyncio.wait_for(waker.sleep(), 15)
            thread.join()
        finally:
            wakeup.close()
            signal.signal(signal.SIGUSR1, before)
        loop.add_signal_handler(signal.SIGUSR2, lambda: None)
        loop.remove_signal_handler(signal.SIGUSR2)
        assert current() in (-1, ours)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    assert current() == -1


def test_descriptor_of_somebody_else_stays(factory: Factory) -> None:
    async def main() -> None:
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno())
        try:
            wakeup = SignalWakeup(asyncio.get_running_loop())
            assert current() == writer.fileno()
            wakeup.close()
            assert current() == writer.fileno()
        finally:
            signal.set_wakeup_fd(before)
            reader.close()
            writer.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
