"""`Multiprocess` and `Process`: workers for programs that run, or subclass, them.

As it is, `Multiprocess` is a thin front of the master of uvicorn.manager, which `--workers` runs too. A class that
replaces one of the steps (`init_processes`, `handle_hup`, `Process.target`, ...), as those of faststream, litellm and
skypilot do, gets the plain loop instead, in which these are the steps: the parent spawns processes, asks each in turn
whether it is alive, and replaces those that are not. The master cannot call such steps: it forks its workers from a
template and has no `Process` for them. What it promises holds in the plain loop too, by the same numbers: the sockets
listen from the start, a dead worker is replaced at once, and one that dies young again and again with growing delays;
a restart ends an old worker when the new one serves; requests have `timeout_graceful_shutdown`, or 30 seconds.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe
from socket import socket
from types import FrameType
from typing import Any

from uvicorn._subprocess import ExitEvent, get_subprocess
from uvicorn.config import Config
from uvicorn.errors import STARTUP_FAILURE
from uvicorn.manager import run_config
from uvicorn.manager.backoff import SETTLED_AFTER, Backoff
from uvicorn.manager.process import AVAILABLE, ExitStatus
from uvicorn.manager.recipe import GRACE_UNDER_A_MASTER
from uvicorn.server import Server

SIGNALS = {
    getattr(signal, f"SIG{name}"): name
    for name in ("INT", "TERM", "BREAK", "HUP", "QUIT", "TTIN", "TTOU", "USR1", "USR2", "WINCH")
    if hasattr(signal, f"SIG{name}")
}
"""The signals that the parent takes; each is handled by the method `handle_<name>`, if there is one."""

_LAP = 0.5  # seconds
_CLEANUP = 10.0
"""Seconds that a worker has for its lifespan shutdown after its last request, before it is killed."""

logger = logging.getLogger("uvicorn.error")


class Process:
    """A worker: in the parent its handle, in the child what runs."""

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        self.config = config
        self.sockets = sockets
        self.server: Any = None
        """The Server; only in the child."""
        self.parent_conn, self.child_conn = Pipe()
        self.process = get_subprocess(config=config, target=self.target, sockets=sockets)
        self._began: float | None = None
        self._ready_at: float | None = None
        self._mourned = False
        """Its end has been told, and when its place is filled again has been decided."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("process", "parent_conn")}

    # -- in the child --

    def target(self, sockets: list[socket] | None = None) -> None:
        """Run the server, with a thread that answers the parent."""
        for name in ("HUP", "QUIT", "TTIN", "TTOU", "USR1", "USR2", "WINCH"):
            if hasattr(signal, f"SIG{name}"):  # meant for the parent, but sent to the whole family
                signal.signal(getattr(signal, f"SIG{name}"), _nothing)
        self.server = Server(self.config)
        threading.Thread(target=self.always_pong, daemon=True, name="answer the parent").start()
        self.server.run(sockets)

    def pong(self) -> None:
        """Answer one question: alive, and whether connections are accepted."""
        self.child_conn.recv()
        self.child_conn.send(bool(self.server is not None and self.server.started))

    def always_pong(self) -> None:
        while True:
            try:
                self.pong()
            except (EOFError, OSError):  # the parent is gone
                return

    # -- in the parent --

    def ping(self, timeout: float = 5) -> bool:
        """Return whether the child answers within `timeout` seconds."""
        return self._ask(timeout) is not None

    def is_ready(self, timeout: float = 5) -> bool:
        """Return whether the child accepts connections, and says so within `timeout` seconds."""
        return bool(self.process.is_alive() and self._ask(timeout))

    def _ask(self, timeout: float) -> bool | None:
        try:
            while self.parent_conn.poll():  # an answer that came too late for its question
                self.parent_conn.recv()
            self.parent_conn.send(b"ping")
            if not self.parent_conn.poll(timeout):
                return None
            ready = bool(self.parent_conn.recv())
        except (EOFError, OSError):
            return None
        if ready and self._ready_at is None:
            self._ready_at = time.monotonic()
        return ready

    def wait_until_ready(self, timeout: float = 5, should_exit: threading.Event | None = None) -> bool:
        """Wait until the child accepts connections; return whether it does, False at once if it ends."""
        deadline = time.monotonic() + timeout
        while self.process.is_alive() and time.monotonic() < deadline:
            if self.is_ready(max(0.01, deadline - time.monotonic())):
                return True
            if (should_exit or threading.Event()).wait(0.05):
                break
        return False

    def is_alive(self, timeout: float = 5) -> bool:
        """Return whether the child runs and answers within `timeout` seconds."""
        return self.process.is_alive() and self.ping(timeout)

    def is_booting(self) -> bool:
        """Return whether the child runs, has not been ready, and has time left for it: nobody minds its silence."""
        limit = self.config.timeout_worker_boot
        began = self._began
        return (
            self.process.is_alive()
            and self._ready_at is None
            and began is not None
            and time.monotonic() < began + limit
        )

    def _is_settled(self) -> bool:
        """Return whether it has been ready for so long that its start is no matter any more."""
        return self._ready_at is not None and time.monotonic() >= self._ready_at + SETTLED_AFTER

    def start(self) -> None:
        self._began = time.monotonic()
        self.process.start()
        self.child_conn.close()

    def terminate(self) -> None:
        """Ask it to end."""
        if self.process.exitcode is None:
            assert self.process.pid is not None
            os.kill(self.process.pid, signal.SIGTERM)
            logger.info("Terminated child process [%d]", self.process.pid)

    def kill(self) -> None:
        self.process.kill()

    def join(self) -> None:
        """Wait for its end; it is killed if it takes longer than its requests and its cleanup may."""
        logger.info("Waiting for child process [%s]", self.process.pid)
        grace = self.config.timeout_graceful_shutdown
        self.process.join((GRACE_UNDER_A_MASTER if grace is None else grace) + _CLEANUP)
        if self.process.is_alive():
            logger.error("Child process [%s] did not end in time and is killed", self.process.pid)
            self.process.kill()
            self.process.join()

    @property
    def pid(self) -> int | None:
        return self.process.pid

    @property
    def exitcode(self) -> int | None:
        return self.process.exitcode


class Multiprocess:
    def __init__(self, config: Config, sockets: list[socket]) -> None:
        self.config = config
        self.sockets = sockets
        self.processes_num = config.workers
        self.processes: list[Process] = []
        self.should_exit: threading.Event = ExitEvent()
        self.signal_queue: list[int] = []
        self._news = threading.Event()
        """A signal came, or it is time to end."""
        self._told_to_end = threading.Event()
        """SIGINT or SIGTERM came, whether it has been handled or not: a restart in progress looks at this."""
        self._failed = False
        self._end: Callable[[], None] | None = None
        """Ends the master, if that is what runs."""
        self._backoff = Backoff()
        self._not_before: dict[int, float] = {}
        """When a place in `processes` may be filled again, by its index."""
        if isinstance(self.should_exit, ExitEvent):
            self.should_exit.on_set = self._news.set
        if config.timeout_graceful_shutdown is None:
            config.timeout_graceful_shutdown = GRACE_UNDER_A_MASTER
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal_queue.append(number)
        if number in (signal.SIGINT, signal.SIGTERM):
            self._told_to_end.set()
            if self._end is not None:
                self._end()
        self._news.set()

    def __getstate__(self) -> dict[str, Any]:
        # A subclass may hand a bound method to a child.
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in ("processes", "should_exit", "signal_queue", "_news", "_told_to_end", "_end")
        }

    # -- the workers --

    def init_processes(self) -> None:
        """Start the first workers."""
        for _ in range(self.processes_num):
            self.processes.append(self._started())

    def _started(self) -> Process:
        process = Process(self.config, self.sockets)
        process.start()
        return process

    def terminate_all(self) -> None:
        for process in self.processes:
            process.terminate()

    def join_all(self) -> None:
        for process in self.processes:
            process.join()

    def restart_all(self) -> None:
        """Replace each worker by a new one, once that is ready; stop at the first that does not become it."""
        self._backoff.forget()
        self._not_before.clear()
        for index, old in enumerate(self.processes):
            if self.should_exit.is_set() or self._told_to_end.is_set():
                return
            new = self._started()
            if not new.wait_until_ready(self.config.timeout_worker_boot, self._told_to_end):
                logger.error(
                    "New child process [%s] was not ready in time; keeping worker [%s] and aborting the restart.",
                    new.pid,
                    old.pid,
                )
                new.kill()
                new.join()
                return
            self.processes[index] = new
            old.terminate()
            old.join()

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that have died or do not answer; one that cannot start ends everything."""
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set() or self._told_to_end.is_set():
                return
            if process._mourned:
                if time.monotonic() >= self._not_before.get(index, 0.0):
                    self.processes[index] = self._started()
                continue
            if process.is_alive(timeout=self.config.timeout_worker_healthcheck) or process.is_booting():
                if process._is_settled():
                    self._backoff.settled(index)
                continue
            if process.process.is_alive():
                logger.error("Child process [%s] does not answer and is killed", process.pid)
            process.kill()
            process.join()
            if self.should_exit.is_set():
                return
            if process.exitcode == STARTUP_FAILURE:
                logger.error("Child process [%s] failed to start, stopping the parent process.", process.pid)
                self._failed = True
                self.should_exit.set()
                return
            self._mourn(index, process)

    def _mourn(self, index: int, process: Process) -> None:
        """Tell of the end of a worker, and put another in its place, or decide when."""
        delay = 0.0
        if not process._is_settled():
            now = time.monotonic()
            not_before = self._backoff.failed(index, now, slots=self.processes_num, jitter=random.random())
            self._not_before[index], delay = not_before, not_before - now
        next_one = "" if delay <= 0 else f"; replacing it in {delay:.1f} s"
        logger.info("Child process [%s] died: %s%s", process.pid, _status(process.exitcode), next_one)
        process._mourned = True
        if delay <= 0:
            self.processes[index] = self._started()

    # -- the loop --

    def run(self) -> None:
        """Serve until told to end. SystemExit(3) if a worker could not start."""
        if self._is_plain():
            self._run_master()
        else:
            self._run_steps()

    def _is_plain(self) -> bool:
        """Whether the master can do it: every step is still ours, and it has sockets and signals to work with."""
        return (
            all(getattr(type(self), name, None) is step for name, step in _STEPS.items())
            and not _STEPS.keys() & vars(self).keys()
            and Process is _PROCESS
            and all(getattr(_PROCESS, name, None) is step for name, step in _PROCESS_STEPS.items())
            and AVAILABLE
            and bool(self.sockets)
            and not self.processes
            and threading.current_thread() is threading.main_thread()
        )

    def _run_master(self) -> None:
        def tell(end: Callable[[], None]) -> None:
            self._end = end
            if isinstance(self.should_exit, ExitEvent):
                self.should_exit.on_set = end
            if self.should_exit.is_set() or self._told_to_end.is_set():
                end()

        self.config.workers = self.processes_num
        code = run_config(self.config, self.sockets, tell=tell)
        self.should_exit.set()
        if code:
            raise SystemExit(code)

    def _run_steps(self) -> None:
        _log_parent("Started", os.getpid())
        for sock in self.sockets:
            sock.listen(self.config.backlog)  # clients wait from now on, instead of being refused
        self.init_processes()
        while not self.should_exit.is_set():
            self._news.wait(_LAP)
            self._news.clear()
            self.handle_signals()
            self.keep_subprocess_alive()
        self.terminate_all()
        self.join_all()
        for sock in self.sockets:
            sock.close()
        _log_parent("Stopping", os.getpid())
        if self._failed:
            raise SystemExit(STARTUP_FAILURE)

    def handle_signals(self) -> None:
        for number in tuple(self.signal_queue):
            self.signal_queue.remove(number)
            name = SIGNALS[number]
            handler = getattr(self, f"handle_{name.lower()}", None)
            if handler is None:
                logger.debug("Received signal %s, but no handler is defined for it.", name)
            else:
                handler()

    def handle_int(self) -> None:
        logger.info("Received SIGINT, exiting.")
        self.should_exit.set()

    def handle_term(self) -> None:
        logger.info("Received SIGTERM, exiting.")
        self.should_exit.set()

    def handle_break(self) -> None:
        logger.info("Received SIGBREAK, exiting.")
        self.should_exit.set()

    def handle_hup(self) -> None:
        logger.info("Received SIGHUP, restarting processes.")
        self.restart_all()

    def handle_ttin(self) -> None:
        logger.info("Received SIGTTIN, increasing the number of processes.")
        self.processes_num += 1
        self.processes.append(self._started())

    def handle_ttou(self) -> None:
        logger.info("Received SIGTTOU, decreasing number of processes.")
        if self.processes_num <= 1:
            logger.info("Already reached one process, cannot decrease the number of processes anymore.")
            return
        self.processes_num -= 1
        process = self.processes.pop()
        process.terminate()
        process.join()


_PROCESS = Process
_STEPS = {name: step for name, step in vars(Multiprocess).items() if callable(step)}
_PROCESS_STEPS = {name: step for name, step in vars(Process).items() if callable(step)}


def _nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal by not dying of it. A function, since SIG_IGN would be inherited by what the app starts."""


def _status(exitcode: int | None) -> str:
    if exitcode is None:
        return "exit status unknown"
    return str(ExitStatus(code=exitcode) if exitcode >= 0 else ExitStatus(signal=-exitcode))


def _log_parent(text: str, pid: int) -> None:
    colour = f"{text} parent process [\x1b[36m\x1b[1m%d\x1b[0m]"
    logger.info("%s parent process [%d]" % (text, pid), extra={"color_message": colour % pid})
