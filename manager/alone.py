"""What a master does for its workers, for a process without one: pid file, another user, umask, directory, title.

Sockets are bound and keys are read first: that may need root, and their paths are those of the directory that we were
started in. The application is imported last, as whom and where it is to run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from uvicorn.errors import ConfigError
from uvicorn.listeners import Listener, open_listeners

from . import titles
from .credentials import Credentials
from .pidfile import PidFile

if TYPE_CHECKING:
    from uvicorn.config import Config


def open_standard_streams() -> None:
    """Open the null device where standard input, output or error is closed: else a socket of ours gets its number."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(fd, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "w" if fd else "r", closefd=False))  # noqa: SIM115  # for the process's life


def unblock_signals() -> None:
    """Hear what whoever started us may have blocked: a mask is inherited through fork and exec."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())


def check(config: Config) -> Credentials | None:
    """Return whom to become, None: nobody else. Raises UsersError for a setting that could not have its effect."""
    if config.proc_name is not None and importlib.util.find_spec("setproctitle") is None:
        raise ConfigError("proc_name: process titles need the package setproctitle: pip install setproctitle")
    if config.chdir is not None and not os.path.isdir(config.chdir):
        raise ConfigError(f"chdir: there is no directory {config.chdir!r}")
    return Credentials.of(config.user, config.group)


def take_pid_file(config: Config, stack: contextlib.ExitStack) -> PidFile | None:
    """Write and lock the pid file, if one is wanted, until the stack is closed. Raises PidFileError."""
    if config.pid is None:
        return None
    pid_file = PidFile(config.pid)
    stack.callback(pid_file.close)
    return pid_file


def give_paths(listeners: list[Listener], credentials: Credentials | None) -> None:
    """Give the UNIX sockets that we made to the user that we become."""
    for listener in listeners:
        if credentials is not None and listener.uds is not None:
            os.chown(listener.uds, credentials.user, credentials.group)


class _Terminated(SystemExit):
    """SIGTERM has come."""


@contextlib.contextmanager
def dying_last() -> Iterator[None]:
    """Inside, a SIGTERM that nobody handles ends what is done there; outside it kills us, as it would have done.

    So what is to be cleaned up is cleaned up, and whoever waits for us sees how we died. A server raises the signal
    that ended it once more when it is done. Only in the main thread; elsewhere nothing is touched.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise _Terminated(128 + number)

    before = signal.getsignal(signal.SIGTERM)
    if before is not signal.SIG_DFL or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except _Terminated:
        signal.signal(signal.SIGTERM, before)
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def settle(config: Config, stack: contextlib.ExitStack) -> list[Listener] | None:
    """Do it all in a process that serves; return the listeners, if they had to be opened for it. Raises UsersError.

    What can be undone is undone when the stack is closed.
    """
    credentials = check(config)
    take_pid_file(config, stack)
    listeners = None
    if credentials is not None or config.chdir is not None:
        listeners = open_listeners(config)
        for listener in listeners:
            stack.callback(listener.close)
        give_paths(listeners, credentials)
    if credentials is not None:
        _read_what_root_may_read(config)
    if config.umask is not None:
        stack.callback(os.umask, os.umask(config.umask))
    if config.chdir is not None:
        stack.callback(_go_back_to, os.getcwd())
        os.chdir(config.chdir)
    if credentials is not None:
        credentials.assume()
    if config.proc_name is not None:
        titles.set_title("server", config.proc_name)
    return listeners


def _read_what_root_may_read(config: Config) -> None:
    """Import the server, and read the keys of TLS."""
    from uvicorn.importer import the_servers_modules

    for name in the_servers_modules(config.loop, config.http, config.ws):
        with contextlib.suppress(ImportError):  # an optional package
            importlib.import_module(name)
    if config.is_ssl and config.ssl_context_factory is None:
        context = config._load_ssl()
        config._load_ssl = lambda: context  # type: ignore[method-assign]


def _go_back_to(directory: str) -> None:
    with contextlib.suppress(OSError):  # it may be gone
        os.chdir(directory)


def for_child(config: Config, directory: str) -> dict[str, Any]:
    """Return, as a document, what a process that serves for us has to do before it imports anything of the user's."""
    credentials = Credentials.of(config.user, config.group)
    return {
        "directory": os.path.join(directory, config.chdir or ""),
        "umask": config.umask,
        "credentials": credentials,
        "title": config.proc_name,
    }


def become(document: dict[str, Any]) -> None:
    """Do what `for_child` said, in the child. Clears the wish to die with the parent if it becomes another user."""
    os.chdir(document["directory"])
    if document["umask"] is not None:
        os.umask(document["umask"])
    if document["credentials"] is not None:
        Credentials(*document["credentials"]).assume()
    if document["title"] is not None:
        titles.set_title("server", document["title"])
