"""Keeps a template for every generation from which workers may be forked, and the scoreboard of each generation."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from uvicorn.listeners import Listener

from .backoff import SETTLED_AFTER
from .handle import WorkerHandle
from .loop import Loop, Rank
from .messages import PROTOCOL, Forked, Loaded, NotForked, NotLoaded
from .recipe import Source
from .scoreboard import LayoutError, Scoreboard
from .templates import Template

logger = logging.getLogger("uvicorn.error")

_FIRST_PAUSE = 0.1  # seconds before a template that ended is replaced; doubles
_LONGEST_PAUSE = 30.0


class Parent(Protocol):
    """Who is told what became of templates."""

    def born(self, id: int, pid: int) -> None:
        """The worker `id` was forked."""

    def template_failed(self, generation: int, reason: str) -> None:
        """No worker of this generation will come."""


class Nursery:
    def __init__(
        self,
        source: Source,
        listeners: list[Listener],
        loop: Loop,
        parent: Parent,
        *,
        directory: str,
        environ: Mapping[str, str],
        young: bool = False,
    ) -> None:
        """`young`: this process has just started, and may fork the first template (see `Template.start`)."""
        self._source = source
        self._listeners = listeners
        self._loop = loop
        self._parent = parent
        self._directory = directory
        self._environ = environ
        self._young = young
        self._templates: dict[int, Template] = {}
        self._boards: dict[int, Scoreboard] = {}
        self._failures = 0
        self.blocked: dict[int, float] = {}
        """When the next template of a generation may be started, after one that ended."""

    def fork(self, worker: WorkerHandle, now: float) -> None:
        """Have the worker forked; a template is started if its generation has none."""
        template = self._templates.get(worker.generation) or self._start(worker.generation, now)
        worker.board = self._boards[worker.generation]
        template.fork(worker)

    def holds_code(self, generation: int) -> bool:
        """Say whether workers of old code can still be forked, whatever has become of the files."""
        template = self._templates.get(generation)
        return template is not None and template.preloaded

    def can_fork(self, generation: int) -> bool:
        """Say whether a loaded template is there."""
        template = self._templates.get(generation)
        return template is not None and template.loaded

    def retain(self, generations: set[int], boards: set[int]) -> None:
        """Let the templates of other generations end, and forget other scoreboards."""
        for generation in self._templates.keys() - generations:
            self._dismiss(self._templates.pop(generation))
        for generation in self._boards.keys() - generations - boards:
            self._boards.pop(generation).close()

    def listen(self, generation: int | None = None) -> None:
        """Hear what templates have to say by now: that of a generation, or all."""
        for template in list(self._templates.values()):
            if generation in (None, template.generation):
                self._on_messages(template)

    def board(self, generation: int) -> Scoreboard | None:
        """Return the scoreboard of a generation; None if it was made by a version with another layout."""
        return self._boards.get(generation)

    def board_fds(self) -> dict[int, int]:
        """Return the descriptors of the scoreboards, for an upgrade."""
        return {generation: board.fd for generation, board in self._boards.items()}

    def adopt_boards(self, fds: Mapping[str, int]) -> None:
        """Take over what `board_fds` said before an upgrade."""
        for generation, fd in fds.items():
            try:
                self._boards[int(generation)] = Scoreboard(fd)
            except LayoutError as error:  # its workers go soon; until then only their deaths are seen
                logger.warning("The scoreboard of generation %s cannot be read: it is %s", generation, error)
                os.close(fd)

    def templates(self) -> list[dict[str, Any]]:
        """Return what describes the templates that have loaded, for an upgrade."""
        return [template.state() for template in self._templates.values() if template.loaded]

    def adopt_templates(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Take over those that hold the application, so that a failed rollout can go back to it; the others end."""
        for state in states:
            template = Template.of_state(state)
            if template.preloaded and state["protocol"] == PROTOCOL and template.generation in self._boards:
                self._keep(template)
            else:
                template.close()
                template.process.close()

    def close(self) -> None:
        self.retain(set(), set())

    def _start(self, generation: int, now: float) -> Template:
        if generation not in self._boards:
            self._boards[generation] = Scoreboard.create()
        template = Template.start(
            self._source,
            generation,
            board=self._boards[generation].fd,
            listeners=[listener.sock.fileno() for listener in self._listeners],
            listeners_stay=all(listener.inherited for listener in self._listeners),
            directory=self._directory,
            environ=self._environ,
            now=now,
            forked=self._young and self._source.is_plain and len(os.listdir("/proc/self/task")) == 1,
        )
        self._young = False
        self._keep(template)
        return template

    def _keep(self, template: Template) -> None:
        template.channel.setblocking(False)
        self._templates[template.generation] = template
        self._loop.watch(template.channel, Rank.TEMPLATES, lambda: self._on_messages(template))
        self._loop.watch(template.process, Rank.DEATHS, lambda: self._on_death(template))

    def _dismiss(self, template: Template) -> None:
        self._loop.unwatch(template.channel)
        template.close()  # its death is reaped like any other

    def _on_messages(self, template: Template) -> None:
        for message in template.channel.pending():
            match message:
                case Loaded(protocol, version, preloaded):
                    template.loaded = True
                    template.preloaded = preloaded
                    if protocol != PROTOCOL:
                        self._parent.template_failed(
                            template.generation,
                            f"uvicorn on disk is now {version}, which this master cannot talk to: send SIGUSR2",
                        )
                case NotLoaded(reason):
                    template.failure = reason
                case Forked(id, pid):
                    self._parent.born(id, pid)
                case NotForked(_, reason):
                    logger.error("Cannot start a worker: %s", reason)
                case _:
                    logger.debug("a template sent %r, which is not for the master", message)
        if template.channel.at_end:
            self._loop.unwatch(template.channel)

    def _on_death(self, template: Template) -> None:
        ours = self._templates.get(template.generation) is template  # else we let it go, and its channel is closed
        if ours:
            self._on_messages(template)
        status = template.process.reap()
        if status is None:
            return
        self._loop.unwatch(template.process)
        template.process.close()
        if not ours:
            return
        self._dismiss(self._templates.pop(template.generation))
        if template.loaded and time.monotonic() - template.born >= SETTLED_AFTER:
            self._failures = 0
        self._failures += 1
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures - 1, 12))
        self.blocked[template.generation] = time.monotonic() + pause
        if template.loaded:
            logger.warning(
                "The template of generation %d exited: %s; workers serve on, and %s",
                template.generation,
                status,
                "the code is read from disk again: a failed restart can no longer go back"
                if template.preloaded
                else "a new one will be started",
            )
        else:
            reason = template.failure or f"the template ended with {status}"
            self._parent.template_failed(template.generation, reason)
