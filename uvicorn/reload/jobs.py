"""What a child is to run, as a document that can be sent to it: the command's settings, or a program's target.

A child is a fresh interpreter, so that it reads the code anew. For the command it makes Config and Server itself. For a
program that called run() or ChangeReload, it is given what `multiprocessing` gives to a spawned process: the main
module is imported again, under the name `__mp_main__`, and Config and target are unpickled.
"""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from uvicorn.errors import UsersError
from uvicorn.manager.recipe import preparation

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.settings import Provenance, Settings

GRACE = 2.0
"""Seconds for `timeout_graceful_shutdown` when nobody gave any: an open stream must not hold up a reload for longer."""


NO_RELOAD: dict[str, Any] = {"reload": False, "reload_dirs": (), "reload_includes": (), "reload_excludes": ()}
"""Settings for a process below the reloader: its Config would announce once more what is watched."""


class NotPicklable(UsersError):
    """What `uvicorn.run(..., reload=True)` was given cannot be sent to another process."""


class Job(Protocol):
    config: Config
    sys_path: list[str]
    late_paths: list[str]
    """Those of `sys_path` that are searched only once the server is imported: where the application's modules lie."""

    def order(self) -> dict[str, Any]:
        """Return the document. Raises NotPicklable."""

    def environment(self) -> dict[str, str]:
        """Return the variables that a child gets besides those of this process."""

    def reread(self) -> None:
        """Read settings and env file again. Raises UsersError; then nothing has changed."""


class CommandJob:
    """The settings of the command line, environment and file."""

    def __init__(self, settings: Settings, provenance: Provenance, sys_path: list[str]) -> None:
        self.settings, self.provenance = settings, provenance
        self.sys_path = sys_path
        self.late_paths = [settings.app_dir, "", os.getcwd()]
        self.config = self._config()
        if settings.env_file is not None:
            import logging

            logging.getLogger("uvicorn.error").info("Loading environment from '%s'", settings.env_file)

    def _config(self) -> Config:
        from uvicorn.config import Config

        config = Config(**{**self.settings.arguments(), "env_file": None})  # the child's matter
        config.given = frozenset(self.provenance)
        return config

    def reread(self) -> None:
        from uvicorn.manager import alone
        from uvicorn.sources import resolve_again

        resolved = resolve_again(self.settings, self.provenance)
        before = self.settings, self.provenance
        self.settings, self.provenance = resolved.settings, resolved.provenance
        try:
            config = self._config()
            alone.check(config)  # a user that does not exist: a child could not be started
        except UsersError:
            self.settings, self.provenance = before
            raise
        self.config = config

    def environment(self) -> dict[str, str]:
        if self.settings.env_file is None:
            return {}
        from uvicorn.sources import read_env_file

        found = read_env_file(self.settings.env_file)
        return {name: value for name, value in found.items() if name not in os.environ}

    def order(self) -> dict[str, Any]:
        of_the_child = self.settings.replace(**NO_RELOAD, workers=1)
        return {"settings": of_the_child.to_json(), "given": list(self.provenance)}


class TargetJob:
    """A function that is called with `sockets=`, usually `Server.run`, and its Config."""

    def __init__(self, config: Config, target: Callable[..., Any]) -> None:
        """Raises RuntimeError, with multiprocessing's explanation, in a main module that lacks its guard."""
        self.config, self._target = config, target
        self._preparation = preparation("uvicorn")
        self.sys_path = [path or os.getcwd() for path in sys.path]
        self.late_paths = ["", os.getcwd()]

    def environment(self) -> dict[str, str]:
        return {}  # the env file is loaded: Config does it

    def reread(self) -> None:
        pass

    def order(self) -> dict[str, Any]:
        import pickle

        try:
            pickled = pickle.dumps((self.config, self._target))
        except Exception as error:
            raise NotPicklable(
                f"cannot send the Config to the process that serves: {error or type(error).__name__}; define what it "
                "refers to at the top level of a module, or do without reload"
            ) from error
        return {"preparation": _text(self._preparation), "pickled": _text(pickled)}


def _text(data: bytes) -> str:
    return base64.b85encode(data).decode()


def _data(text: str) -> bytes:
    return base64.b85decode(text)


# -- in the child ------------------------------------------------------------------------------------------------------


def load(order: dict[str, Any]) -> tuple[Config, Callable[..., Any]]:
    """Return the Config and what to call, in the process that will serve; logging is configured."""
    config, target = _load_settings(order) if "settings" in order else _load_target(order)
    if config.timeout_graceful_shutdown is None:
        config.timeout_graceful_shutdown = GRACE
    return config, target


def _load_settings(order: dict[str, Any]) -> tuple[Config, Callable[..., Any]]:
    from uvicorn.config import Config
    from uvicorn.settings import Settings

    settings = Settings.from_json(order["settings"])
    config = Config(**{**settings.arguments(), "env_file": None})
    config.given = frozenset(order["given"])

    def serve(sockets: list[Any]) -> None:
        config.load_app()  # before there is a loop: an error at import shows nothing else
        server = sys.modules["uvicorn.main"].Server(config)  # there packages replace it
        server.on_ready = order["on_ready"]
        server.run(sockets=sockets)

    return config, serve


def _load_target(order: dict[str, Any]) -> tuple[Config, Callable[..., Any]]:
    import multiprocessing
    import pickle
    from multiprocessing import spawn

    current: Any = multiprocessing.current_process()
    current._inheriting = True  # a main module without its guard gets the usual explanation from multiprocessing
    try:
        spawn.prepare(pickle.loads(_data(order["preparation"])))
        config, target = pickle.loads(_data(order["pickled"]))
    finally:
        del current._inheriting
    config.configure_logging()
    owner: Any = getattr(target, "__self__", None)
    if hasattr(owner, "on_ready"):
        owner.on_ready = order["on_ready"]
    return config, target
