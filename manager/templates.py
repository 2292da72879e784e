"""A template as the master sees it, and how it is started."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .channel import Channel
from .credentials import Credentials
from .handle import WorkerHandle
from .messages import PROTOCOL, Fork
from .process import Process, exec_child, fork_child, interpreter
from .recipe import Recipe, Source, name_of
from .signals import OF_THE_FAMILY

# Nothing of the user's may be found before what it shadows is imported: not the module `signal` in his working
# directory. So those paths come last until the server is imported; `template.main` puts them where they were.
BOOTSTRAP = "; ".join(
    (
        "import sys",
        "sys.path[:] = [path for path in sys.path if path]",
        "import json",
        "file = open(int(sys.argv[1]), 'rb', closefd=False)",
        "paths, late = json.loads(file.readline())",
        "file.close()",
        "sys.path[:] = [path for path in paths if path not in late] + [path for path in paths if path in late]",
        "from uvicorn.manager.template import main",
        "main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])",
    )
)


def command(recipe_fd: int, channel_fd: int, *mode: str) -> list[str]:
    """Return the command line of a template."""
    return [*interpreter(), "-c", BOOTSTRAP, str(recipe_fd), str(channel_fd), *mode]


def _exec(recipe: Recipe, channel: Channel, environ: Mapping[str, str], fds: Sequence[int]) -> int:
    recipe_fd = recipe.to_file()
    try:
        return exec_child(
            command(recipe_fd, channel.fileno()), environ, pass_fds=[recipe_fd, *fds], blocked=OF_THE_FAMILY
        )
    finally:
        os.close(recipe_fd)


def _fork(recipe: Recipe, channel: Channel, environ: Mapping[str, str], fds: Sequence[int]) -> int:
    def child() -> NoReturn:
        if "click" in sys.modules:
            from click.globals import get_current_context, pop_context

            while get_current_context(silent=True) is not None:
                pop_context()  # what the application asks click is not about our command
        # As the bootstrap above does. Imported here, because the master is to stay free of what it imports.
        late = recipe.late_paths
        sys.path[:] = [path for path in recipe.sys_path if path and path not in late] + late
        from .template import live

        live(recipe, channel)

    return fork_child(child, environ, pass_fds=fds, blocked=OF_THE_FAMILY)


class Template:
    """The template of one generation, as the master sees it."""

    __slots__ = ("born", "channel", "failure", "generation", "loaded", "preloaded", "process")

    def __init__(self, generation: int, process: Process, channel: Channel, born: float) -> None:
        self.generation = generation
        self.process = process
        self.channel = channel
        self.born = born
        self.loaded = False
        self.preloaded = False
        self.failure: str | None = None
        """Why it could not load, in its own words."""

    @classmethod
    def start(
        cls,
        source: Source,
        generation: int,
        *,
        board: int,
        listeners: Sequence[int],
        listeners_stay: bool,
        directory: str,
        environ: Mapping[str, str],
        now: float,
        forked: bool = False,
    ) -> Template:
        """Start a fresh interpreter that will be the template of `generation`.

        `forked`: this process has just started from the same files, and holds nothing that its children must not see.
        Then it is forked: that saves the start of an interpreter, and the memory of what both have imported.
        """
        ours, theirs = Channel.pair()
        voice, speaker = os.pipe()
        try:
            os.set_blocking(voice, False)
            os.write(speaker, b"!")
            credentials = Credentials.of(source.config.user, source.config.group)
            recipe = Recipe(
                master=os.getpid(),
                generation=generation,
                directory=os.path.join(directory, source.config.chdir or ""),
                listeners=list(listeners),
                listeners_stay=listeners_stay,
                preload=source.config.preload,
                name=name_of(source.config),
                umask=source.config.umask,
                credentials=None if credentials is None else list(credentials),
                board=board,
                voice=voice,
                **source.ingredients(),
            )
            start = _fork if forked else _exec
            pid = start(recipe, theirs, environ, [theirs.fileno(), voice, board, *listeners])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            for fd in (voice, speaker):
                os.close(fd)
        return cls(generation, Process(pid), ours, now)

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Template:
        """Take over the template that `state` describes. It has loaded."""
        template = cls(state["generation"], Process(state["pid"]), Channel.adopt(state["channel"]), state["born"])
        template.loaded, template.preloaded = True, state["preloaded"]
        return template

    def state(self) -> dict[str, Any]:
        """Return what the program after an upgrade needs to know of it."""
        return {
            "generation": self.generation,
            "pid": self.process.pid,
            "channel": self.channel.fileno(),
            "born": self.born,
            "preloaded": self.preloaded,
            "protocol": PROTOCOL,
        }

    def fork(self, worker: WorkerHandle) -> None:
        """Ask for a worker, and give it our end of its channel. If the template cannot, that is at its end at once."""
        worker.channel, theirs = Channel.pair()
        worker.dump_fd = os.memfd_create("uvicorn-last-words")
        worker.row = worker.board.claim(worker.id)
        self.channel.send(Fork(worker.id, worker.slot, worker.row), [theirs.fileno(), worker.dump_fd])
        theirs.close()

    def close(self) -> None:
        """End it. It has nothing to clean up; one that hangs, or is stopped, would not hear of its channel's end."""
        self.channel.close()
        self.process.kill(signal.SIGKILL)
