"""The master: one loop that waits, takes events to the workers' table, asks the planner, and does what it says.

Nothing here waits for anything else: a signal, a message, a death and a deadline are all events of the same loop, so a
SIGTERM in the middle of a rolling restart is served like any other. The master never imports the application, asyncio
or ssl; it holds the listening sockets, and processes.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import os
import signal
import time
from typing import Any

from uvicorn import log_config
from uvicorn.errors import STARTUP_FAILURE, UsersError
from uvicorn.listeners import Listener, running_lines

from . import logs, report, status, succession, titles, tuning, upgrade
from .crew import Crew
from .elders import Elders
from .handle import WorkerHandle
from .liveness import Thresholds
from .loop import Loop, Rank
from .messages import Reopen
from .pidfile import PidFile
from .plan import Order, Phase, Wish, plan
from .process import return_memory
from .recipe import CommandSource, Source, name_of, working_directory
from .signals import COMMANDS, Command, Inbox, has_terminal
from .systemd import Notifier
from .worker import State

logger = logging.getLogger("uvicorn.error")


class Master:
    def __init__(
        self,
        source: Source,
        listeners: list[Listener],
        *,
        hosted: bool,
        announced: bool = False,
        pid_file: PidFile | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        """`hosted`: another program called us; its children, signals and environment stay its own.

        `announced`: whoever made the sockets has logged where we are running.
        `state`: the document (`succession`) of the program that this process ran before an upgrade.
        """
        self._pid_file = pid_file
        self._state = state
        self._source = source
        self._listeners = listeners
        self._hosted = hosted
        self._announced = announced
        self._ending = False
        self._pid = os.getpid()
        self._loop = Loop()
        self._inbox = Inbox()
        self._environ = dict(os.environ)
        self._upgrade = upgrade.Preflight(self._loop, self._environ, self._become_new_code)
        self.wish = Wish(wanted=max(1, source.config.workers), surge=source.config.surge)
        self.established = False
        self._directory = working_directory()
        self._crew = Crew(
            self,
            source,
            listeners,
            self._loop,
            self._environ,
            directory=self._directory,
            young=not hosted and state is None,
        )
        self._elders = Elders(self._loop)
        self._exit_code = 0
        self._rollout_began = 0.0
        self._wake_at = -math.inf
        self._limits = tuning.limits(source.config)
        self._notifier = Notifier({} if hosted else None)
        self._failure = ""  # of the last reload, for the status
        self._stop_at = math.inf
        self._had_terminal = not hosted and has_terminal()

    # -- the loop --

    def run(self) -> int:
        """Serve until told to stop; return the exit code."""
        config = self._source.config
        with contextlib.ExitStack() as stack:
            stack.callback(setattr, log_config, "worker", log_config.worker)
            log_config.worker = "master"
            stack.callback(self._close)
            stack.enter_context(self._inbox.listening(tuple(COMMANDS)))
            self._loop.watch(self._inbox, Rank.SIGNALS, self._on_signals)
            if self._state is not None:
                self._adopt(self._state)
            else:
                for listener in self._listeners:
                    listener.listen(config.backlog)
                for message, color_message, args in () if self._announced else running_lines(self._listeners, config):
                    logger.info(message, *args, extra={"color_message": color_message})
                report.parent("Started", self._pid)
            self._warn()
            if not self._hosted:
                titles.set_title("master", name_of(config))
            self._notifier.starting(time.monotonic())
            gc.collect()
            if not self._hosted:
                gc.freeze()  # what the first template shares with us stays shared
                gc.enable()
            while not self._is_over():
                self._lap()
            report.parent("Stopping", self._pid)
        return self._exit_code

    def end(self) -> None:
        """Let `run` stop slowly and return. For any thread, and for signal handlers."""
        self._ending = True
        self._inbox.wake()

    def _lap(self) -> None:
        now = time.monotonic()
        if now >= self._stop_at or (self._ending and not self.wish.stop):
            self._stop(Order.STOP)
        if now >= self._crew.hints.wake_at:
            self._on_signals()  # one that was sent with those of the workers has come by now
            for conclude in self._crew.hints.due(now):
                conclude()
        self._elders.tick(now)
        self._crew.look(now)
        self._move()
        source = self._source
        if self._upgrade.wanted and isinstance(source, CommandSource) and self._is_at_rest() and self._can_upgrade():
            self._upgrade.begin(source.paths, self._document(source))
        self._upgrade.tick(now)
        self._notifier.tick(time.monotonic())
        clocks = (self._crew, self._crew.hints, self._elders, self._crew.health, self._upgrade, self._notifier)
        self._loop.wait(min(self._wake_at, self._stop_at, *(clock.wake_at for clock in clocks)))
        if self._crew.strangers:
            self._crew.reap_strangers()

    def _is_over(self) -> bool:
        return bool(self.wish.stop) and not self._crew and not self._elders

    def _move(self) -> None:
        """Ask the planner until it wants nothing more, and do what it says."""
        while True:
            now = time.monotonic()
            views = [worker.view for worker in self._crew]
            self._advance(self.wish.advance(views), now)
            todo = plan(
                views,
                self.wish,
                now,
                limits=self._limits,
                not_before=self._crew.restarts.not_before,
                blocked=self._crew.nursery.blocked,
            )
            self._wake_at = todo.wake_at
            wish = self.wish
            for tell in todo.tells:
                self._crew.tell(tell, now)
            for spawn in todo.spawns:
                if self.wish is not wish:
                    break  # one of these deadlines has ended a rollout, or it all: this was planned for another wish
                self._crew.spawn(spawn, now)
            if not todo.tells and not todo.spawns:
                break
        if self.wish.stop:
            self._close_listeners_when_acknowledged()

    def _advance(self, wish: Wish, now: float) -> None:
        before, self.wish = self.wish, wish
        if before.phase is not Phase.STEADY and wish.phase is Phase.STEADY:
            report.reloaded(self._crew.ready, wish.target, now - self._rollout_began)
            self._notifier.ready()
            self._failure = ""
            self._elders.retire(now, self._limits)
        if not self.established and not wish.stop:
            ready_slots = {w.slot for w in self._crew if w.state is State.READY}
            self.established = ready_slots >= set(range(1, wish.wanted + 1))
            if self.established:
                self._notifier.ready()
                return_memory()
        partial = ", partial" if wish.phase is Phase.HALTED else ""
        self._notifier.status(
            f"{self._crew.ready} of {wish.wanted} workers ready, generation {wish.target}{partial}{self._failure}"
        )
        used = {worker.generation for worker in self._crew}
        self._crew.nursery.retain(set() if wish.stop else wish.generations, used)

    # -- signals --

    def _on_signals(self) -> None:
        for number in self._inbox.read():
            meaning = COMMANDS.get(number)
            if meaning is not None:
                self._command(meaning.command, number)

    def _command(self, command: Command, number: signal.Signals) -> None:
        match command:
            case Command.REAP:
                self._crew.strangers = not self._hosted  # else they are the host's to reap
            case Command.STOP:
                self._stop_asked(number)
            case Command.STOP_FAST:
                logger.info("Received %s, exiting at once.", number.name)
                self._stop(Order.CANCEL)
            case Command.REOPEN:
                logger.info("Received %s, opening %d log files again.", number.name, logs.reopen())
                for worker in self._crew:
                    if worker.state in (State.READY, State.DRAINING, State.STARTING):
                        worker.channel.send(Reopen())
            case Command.DUMP:
                crew, now = self._crew, time.monotonic()
                for line in status.lines(crew, crew.rows(), self.wish, crew.counters.totals, now):
                    logger.info("%s", line)
                for worker in self._crew:
                    self._crew.health.dump(worker, time.monotonic())
            case _ if self.wish.stop or self._stop_at < math.inf:
                pass
            case Command.UPGRADE if not isinstance(self._source, CommandSource):
                logger.warning("Received %s, ignored: only the command can upgrade itself.", number.name)
            case Command.UPGRADE:
                logger.info("Received %s, upgrading in place.", number.name)
                self._upgrade.wanted = True
            case Command.RETIRE_ALL:
                if not self._had_terminal:
                    logger.info("Received %s, retiring all workers; SIGHUP brings them back.", number.name)
                    self.wish = self.wish._replace(wanted=0)
            case Command.RELOAD if self._had_terminal and not has_terminal():
                logger.info("Received SIGHUP, and the terminal is gone: exiting.")
                self._stop(Order.STOP)
            case Command.RELOAD:
                logger.info("Received SIGHUP, restarting processes.")
                self._reload()
            case Command.MORE:
                logger.info("Received SIGTTIN, increasing the number of processes.")
                self.wish = self.wish._replace(wanted=self.wish.wanted + 1)
            case Command.LESS:
                logger.info("Received SIGTTOU, decreasing number of processes.")
                if self.wish.wanted <= 1:
                    logger.info("Already reached one process, cannot decrease the number of processes anymore.")
                else:
                    self.wish = self.wish._replace(wanted=self.wish.wanted - 1)

    def _stop_asked(self, number: signal.Signals) -> None:
        again = self.wish.stop or self._stop_at < math.inf
        delay = self._source.config.shutdown_delay
        if again and number is signal.SIGINT:
            self._stop(Order.FORCE if self.wish.stop else Order.STOP)
        elif not again and delay > 0 and number is signal.SIGTERM:
            logger.info("Received %s, exiting in %s; until then all is served.", number.name, report.seconds(delay))
            self._stop_at = time.monotonic() + delay
            self._notifier.stopping()
        elif not again:
            logger.info("Received %s, exiting.", number.name)
            self._stop(Order.STOP)

    def _stop(self, order: Order) -> None:
        self._stop_at = math.inf
        if not self.wish.stop:
            self._notifier.stopping()
            # First of all: whoever comes by the path from now on is refused at once, not reset in a moment.
            for listener in self._listeners:
                listener.unlink()
        if order > self.wish.stop:
            self.wish = self.wish._replace(stop=order)
            self._elders.retire(time.monotonic(), self._limits)
            if order > Order.STOP:
                self._elders.hurry(time.monotonic(), self._limits)

    def _reload(self) -> None:
        before = self._source.config
        try:
            self._follow_directory()
            self._source.reload()
        except Exception as error:  # whatever it is, it is no reason to stop serving
            reason = error if isinstance(error, UsersError) else f"{type(error).__name__}: {error}"
            logger.error("Cannot reload: %s; the running workers stay", reason)
            self._failure = ", the last reload failed"
            if self.established:
                self._notifier.reloading(time.monotonic())  # whoever asked waits for the begin and the end of it
                if self.wish.phase in (Phase.STEADY, Phase.HALTED):
                    self._notifier.ready()
            return
        config = self._source.config
        self._warn()
        self._limits = tuning.limits(config)
        self._crew.health.thresholds = Thresholds.of_config(config)
        self._crew.health.recycling = tuning.recycling(config)
        self._crew.counters.newest += 1
        if self.wish.phase is Phase.STEADY:
            self._rollout_began = time.monotonic()
        self._notifier.reloading(time.monotonic())
        if config.workers != before.workers or not self.wish.wanted:
            self.wish = self.wish._replace(wanted=max(1, config.workers))
        self.wish = self.wish._replace(surge=config.surge).begin(self._crew.counters.newest)
        self._crew.restarts.forget()

    def _follow_directory(self) -> None:
        """Go to the working directory, by its name: a link to the release leads to another, or it was made anew."""
        if self._hosted:
            return
        try:
            os.chdir(self._directory)
        except OSError as error:
            raise UsersError(f"the working directory {self._directory}: {error.strerror}") from None

    def _warn(self) -> None:
        for warning in tuning.warnings(self._source.config):
            logger.warning("%s", warning)

    def boot_failed(self, worker: WorkerHandle, reason: str) -> None:
        if not self.established and not self.wish.stop:
            logger.error("Child process [%d] failed to start, stopping the parent process.", worker.pid or 0)
            self._give_up()
        else:
            self._generation_failed(worker.generation, f"worker {worker.slot}: {reason}")

    def _generation_failed(self, generation: int, reason: str) -> None:
        before = self.wish
        self.wish = before.failed(generation, can_roll_back=self._crew.nursery.holds_code(before.previous))
        if self.wish is before or generation != before.target:
            return
        older = sum(worker.generation != generation for worker in self._crew)
        whole = before.surge > 0 or self._crew.nursery.holds_code(before.base)
        report.rollout_failed(before, self.wish, reason, older, whole=whole)
        self._failure = ", the last reload failed"
        if self.wish.phase in (Phase.STEADY, Phase.HALTED):
            self._notifier.ready()

    def _give_up(self) -> None:
        self._exit_code = STARTUP_FAILURE
        self._stop(Order.STOP)

    def template_failed(self, generation: int, reason: str) -> None:
        """No worker of this generation will come."""
        if not self.established and not self.wish.stop:
            logger.error("Cannot start workers: %s", reason)
            self._give_up()
            return
        before = self.wish
        self._generation_failed(generation, reason)
        if self.wish is before and not before.stop and (again := self._crew.nursery.blocked.get(generation)):
            pause = report.seconds(max(0.0, again - time.monotonic()))
            logger.error("Cannot start workers of generation %d: %s; trying again in %s", generation, reason, pause)

    # -- upgrade in place --

    def _is_at_rest(self) -> bool:
        return self._crew.is_at_rest and not self.wish.stop and self.wish.phase in (Phase.STEADY, Phase.HALTED)

    def _become_new_code(self) -> None:
        """The new code starts: become it, unless something has happened meanwhile."""
        if not self._is_at_rest():
            self._upgrade.wanted = True
        elif isinstance(self._source, CommandSource) and self._can_upgrade():
            upgrade.execute(self._document(self._source), self._source.paths, self._environ)

    def _can_upgrade(self) -> bool:
        """Go where the new code finds its directory; False, and told, if there is none."""
        self._upgrade.wanted = False
        try:
            self._follow_directory()
        except UsersError as error:
            logger.error("Cannot upgrade: %s; going on as before", error)
            return False
        return True

    def _document(self, source: CommandSource) -> dict[str, Any]:
        return succession.document(
            source,
            listeners=self._listeners,
            pid_file=self._pid_file,
            workers=self._crew,
            nursery=self._crew.nursery,
            wish=self.wish,
            counters=self._crew.counters,
        )

    def _adopt(self, state: dict[str, Any]) -> None:
        """Take over from the program that this process ran before, then replace the workers it has started."""
        from uvicorn import __version__

        logger.info("Upgraded in place from %s to %s, process id %d", state["version"], __version__, self._pid)
        now = time.monotonic()
        self.established = True
        self._rollout_began = now
        self._crew.counters = succession.counters_of(state, now)
        self.wish = succession.wish_of(state, self.wish)
        self._crew.strangers = True  # who has died meanwhile
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if not succession.is_known(state):
            succession.close_the_rest(state)
            self._elders.adopt(state["workers"])
            self._notifier.reloading(now)
            logger.warning("The state of that version is not known here: its workers serve until new ones do")
            return
        for worker in succession.workers_of(state, self._crew.nursery):
            self._crew.adopt(worker)
        self._reload()

    # -- the end --

    def _close_listeners_when_acknowledged(self) -> None:
        if not any(worker.listening for worker in self._crew):
            for listener in self._listeners:
                listener.close()

    def _close(self) -> None:
        self._crew.nursery.close()
        for process in self._loop.processes():  # templates, which have nothing to clean up
            process.kill(signal.SIGKILL)
            process.wait()
            process.close()
        for listener in self._listeners:
            listener.close()
        self._loop.close()
        self._inbox.close()
