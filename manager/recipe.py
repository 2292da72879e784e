"""What a template needs to know to make workers, as bytes in a file without a name (memfd).

Bytes, because a template is a fresh process: it reads the code anew, and inherits nothing that the master has imported.
A master started by the command writes the settings as JSON. One started from Python writes the pickled Config and what
`multiprocessing` calls preparation data, which is the contract of its `spawn` method: the main module is imported
again, under the name `__mp_main__`, before the Config is unpickled.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from uvicorn.errors import UsersError
from uvicorn.settings import Provenance, Settings

if TYPE_CHECKING:
    from uvicorn.config import Config

GRACE_UNDER_A_MASTER = 30.0
"""Seconds for `timeout_graceful_shutdown` when nobody gave any: without a limit one stream would stop every restart."""


class NotPicklable(UsersError):
    """The Config of `uvicorn.run(..., workers=N)` cannot be sent to the workers."""


class Recipe(NamedTuple):
    master: int
    """The pid of the master, which adopts the workers."""
    generation: int
    directory: str
    """The working directory, by the name that it was given: a symbolic link leads elsewhere after a deployment."""
    sys_path: list[str]
    late_paths: list[str]
    """Those that may be searched only when the server is imported: where the application's modules lie."""
    argv: list[str]
    name: str
    """For process titles."""
    umask: int | None
    credentials: list[Any] | None
    """uid, gid and name to become before anything of the user's is imported; None: stay who we are."""
    listeners: list[int]
    """Descriptors of the sockets, under the numbers that they have in the template."""
    preload: bool
    """Import the application before the workers are forked."""
    board: int
    """The scoreboard of this generation."""
    voice: int
    """Reading a byte from this pipe gives the right to print the reason of a failed boot."""
    settings: str | None = None
    listeners_stay: bool = False
    """All of them belong to whoever started the master, who keeps them when it ends."""
    given: tuple[str, ...] = ()
    """Which settings somebody gave."""
    pickled: bytes | None = None
    """The Config of a caller; then `settings` is None."""
    preparation: bytes | None = None

    def to_bytes(self) -> bytes:
        """Return one line of JSON with the paths, which must be known before anything is imported, and one with all."""
        values = {name: value.hex() if isinstance(value, bytes) else value for name, value in self._asdict().items()}
        return json.dumps([self.sys_path, self.late_paths]).encode() + b"\n" + json.dumps(values).encode()

    def to_file(self) -> int:
        """Return the descriptor of a file without a name that holds these bytes, to be read from its start."""
        fd = os.memfd_create("uvicorn-recipe")
        with open(fd, "wb", closefd=False) as file:
            file.write(self.to_bytes())
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    @classmethod
    def from_bytes(cls, text: bytes) -> Recipe:
        values = json.loads(text.split(b"\n", 1)[1])
        for name in ("pickled", "preparation"):
            if values[name] is not None:
                values[name] = bytes.fromhex(values[name])
        return cls(**values | {"given": tuple(values["given"])})


class Source(Protocol):
    """Where the settings of a generation come from."""

    config: Config
    """As the master sees it: sockets, limits, logging. The application is not loaded."""

    is_plain: bool
    """Making it has run no code of the user's, and opened no file: this process may be forked."""

    def reload(self) -> None:
        """Read everything anew, for the next generation. Raises UsersError; then nothing has changed."""

    def ingredients(self) -> dict[str, Any]:
        """Return what this source contributes to a recipe."""


class CommandSource:
    """The settings of the command line, environment and file; read again at each reload."""

    def __init__(self, settings: Settings, provenance: Provenance, sys_path: list[str] | None = None) -> None:
        """`sys_path`: what the application is to find; None is ours."""
        self.settings, self.provenance = settings, provenance
        self.config = self._config(settings, provenance)
        self.is_plain = settings.log_config is None
        self._argv = list(sys.argv)
        self._sys_path = list(sys.path if sys_path is None else sys_path)
        if settings.app_dir not in self._sys_path:
            self._sys_path.insert(0, settings.app_dir)

    @staticmethod
    def _config(settings: Settings, provenance: Provenance) -> Config:
        config = make_config(settings, given=list(provenance), env_file=None)
        if settings.env_file is not None:
            import logging

            logging.getLogger("uvicorn.error").info("Loading environment from '%s'", settings.env_file)
        return config

    def reload(self) -> None:
        from uvicorn.sources import resolve_again

        from . import alone

        resolved = resolve_again(self.settings, self.provenance)
        config = self._config(resolved.settings, resolved.provenance)
        alone.check(config)  # a user that does not exist: templates could not be started
        self.config, self.settings, self.provenance = config, resolved.settings, resolved.provenance

    @property
    def paths(self) -> list[list[str]]:
        """sys.path, and which of it may be searched last only."""
        return [self._sys_path, [self.settings.app_dir, "", here()]]

    def to_json(self) -> dict[str, Any]:
        """Return what another program needs to make this source again."""
        return {
            "settings": self.settings.to_json(),
            "provenance": dict(self.provenance),
            "sys_path": self._sys_path,
            "argv": self._argv,
        }

    def ingredients(self) -> dict[str, Any]:
        return {
            "settings": self.settings.to_json(),
            "given": tuple(self.provenance),
            "sys_path": self._sys_path,
            "late_paths": [self.settings.app_dir, "", here()],
            "argv": self._argv,
        }


class ConfigSource:
    """A Config that a program made. It stays as it is; what a reload reads anew is the code."""

    is_plain = False

    def __init__(self, config: Config) -> None:
        """Raises NotPicklable."""
        self.config = config
        self._pickled = _pickled(config)
        self._preparation = preparation("uvicorn worker")
        self._sys_path = [path or os.getcwd() for path in sys.path]

    def reload(self) -> None:
        pass

    def ingredients(self) -> dict[str, Any]:
        return {
            "pickled": self._pickled,
            "preparation": self._preparation,
            "sys_path": self._sys_path,
            "late_paths": ["", here()],
            "argv": list(sys.argv),
        }


def make_config(settings: Settings, *, given: Sequence[str], env_file: str | None) -> Config:
    """Return the Config of the command's settings; logging is configured by this."""
    from uvicorn.config import Config

    config = Config(**{**settings.arguments(), "env_file": env_file})
    config.given = frozenset(given)
    return config


def load_config(recipe: Recipe) -> Config:
    """Return the Config of a recipe, in a worker (or a template that loads the application); logging is configured.

    Imports the caller's main module if the recipe comes from one. Raises whatever that raises.
    """
    config: Config
    if recipe.pickled is None:
        assert recipe.settings is not None
        config = make_config(Settings.from_json(recipe.settings), given=recipe.given, env_file=None)
    else:
        import multiprocessing
        import pickle
        from multiprocessing import spawn

        assert recipe.preparation is not None
        current: Any = multiprocessing.current_process()
        current._inheriting = True  # a main module without its guard gets the usual explanation from multiprocessing
        try:
            spawn.prepare(pickle.loads(recipe.preparation))
            config = pickle.loads(recipe.pickled)
        finally:
            del current._inheriting
        config.configure_logging()
    if config.timeout_graceful_shutdown is None:
        config.timeout_graceful_shutdown = GRACE_UNDER_A_MASTER
    return config


def name_of(config: Config) -> str:
    """Return what process titles call this server."""
    return config.proc_name or (config.app if isinstance(config.app, str) else "app")


def here() -> str:
    """Return the working directory; empty: it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def working_directory() -> str:
    """Return the working directory as $PWD names it, if that is what it means: symbolic links stay in."""
    here = os.getcwd()
    named = os.environ.get("PWD")
    try:
        return named if named and os.path.samefile(named, here) else here
    except OSError:
        return here


def preparation(name: str) -> bytes:
    """Return what `multiprocessing.spawn.prepare` needs in a process of this name to be like us, pickled."""
    import pickle
    from multiprocessing import spawn

    data = spawn.get_preparation_data(name)
    if "authkey" in data:
        data["authkey"] = bytes(data["authkey"])  # its own class pickles itself only into a process being spawned
    return pickle.dumps(data)


def _pickled(config: Config) -> bytes:
    import pickle

    try:
        return pickle.dumps(config)
    except Exception as error:
        culprit = next((name for name, value in vars(config).items() if not _pickles(value)), None)
        what = f"its attribute {culprit!r}" if culprit else f"its class {type(config).__qualname__}"
        reason = str(error) or type(error).__name__
        raise NotPicklable(
            f"the Config cannot be sent to worker processes: {what} cannot be pickled ({reason}); define what it "
            "refers to at the top level of a module, pass the application as an import string, or use workers=1"
        ) from error


def _pickles(value: object) -> bool:
    import pickle

    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True
