"""A template: a fresh process that has imported the server, and that workers are forked from.

A fork takes milliseconds where a start of the interpreter and all imports take hundreds; what was imported before it is
shared memory. There is one template per generation, started by exec, so that a new generation reads the code anew.
It answers one message after the other on its channel, and ends when the master does.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, NoReturn

from uvicorn import log_config
from uvicorn.errors import STARTUP_FAILURE, UsersError
from uvicorn.importer import the_servers_modules
from uvicorn.settings import Settings

from . import prologue, titles, worker_main
from .channel import Channel
from .credentials import Credentials
from .messages import PROTOCOL, Fork, Forked, Loaded, NotForked, NotLoaded
from .process import die_with_parent, fork_adopted, return_memory, trim
from .recipe import Recipe, load_config
from .signals import OF_THE_FAMILY
from .templates import command

if TYPE_CHECKING:
    from uvicorn.config import Config

logger = logging.getLogger("uvicorn.error")

_A_WHILE = 0.5
"""Seconds without a message after which a template has forked what there was to fork."""


def main(recipe_fd: int, channel_fd: int, mode: str = "") -> NoReturn:
    """Become a template, in a fresh interpreter. `mode` is "bare" after the application started threads."""
    with open(recipe_fd, "rb") as file:
        file.seek(0)
        recipe = Recipe.from_bytes(file.read())
    for fd in (channel_fd, recipe.voice, recipe.board, *recipe.listeners):
        os.set_inheritable(fd, False)
    live(recipe, Channel.adopt(channel_fd), bare=mode == "bare")


def live(recipe: Recipe, channel: Channel, *, bare: bool = False) -> NoReturn:
    """Be a template to the end. `bare`: the application, imported here before, turned out to start threads."""
    for number in OF_THE_FAMILY:
        signal.signal(number, signal.SIG_IGN)  # the end of the channel is what ends a template
    gc.disable()  # what is imported stays; looking for garbage in it would be a twentieth of the work
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OF_THE_FAMILY)  # until now they would have killed it
    log_config.worker = "template"
    channel.setblocking(True)
    die_with_parent(recipe.master)
    try:
        os.chdir(recipe.directory)
        load_environment(recipe)
    except (OSError, UsersError) as error:
        channel.send(NotLoaded(str(error)))
        os._exit(STARTUP_FAILURE)
    import_server(recipe)
    titles.set_title("template", recipe.name)
    as_root = prepare_as_root(recipe) if recipe.credentials is not None else None
    if recipe.credentials is not None:
        Credentials(*recipe.credentials).assume()
        die_with_parent(recipe.master)
    if recipe.umask is not None:
        os.umask(recipe.umask)
    sys.path[:] = recipe.sys_path
    sys.argv[:] = recipe.argv
    config = as_root or prepare(recipe)
    if recipe.preload and not bare:
        config = load_application(recipe, config, channel)
        if threads := _other_threads():
            logger.warning(
                "The application starts threads at its import (%s); --preload cannot share it. Each worker imports it "
                "instead; start threads in the lifespan to share it",
                ", ".join(threads),
            )
            start_again_bare(recipe, channel)
        if (count := len(os.listdir("/proc/self/task"))) > 1:
            # Said here once, in words that help; Python 3.12 would say it again at every fork.
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            logger.warning(
                "The application has started %d native threads at its import (a library for computing?); workers "
                "do not have them. If a worker hangs in that library, serve without --preload",
                count - 1,
            )
    elif config is not None and isinstance(config.app, str) and not bare:
        prologue.do_first_imports(config.app, recipe.sys_path, recipe.late_paths)
        if _other_threads():
            start_again_bare(recipe, channel)
    # What is here now lives as long as the workers. Collected once and then left alone, its pages stay shared: the
    # collector writes into every object that it looks at.
    gc.collect()
    trim()
    gc.freeze()
    gc.enable()
    from uvicorn import __version__

    channel.send(Loaded(PROTOCOL, __version__, config is not None and config.loaded))
    serve(channel, recipe, config)


def prepare(recipe: Recipe) -> Config | None:
    """Make the Config that all workers share; None if that would run code of the user's, which each of them is to."""
    if recipe.settings is None or Settings.from_json(recipe.settings).log_config is not None:
        return None
    config = load_config(recipe)
    config.prepare()
    return config


def prepare_as_root(recipe: Recipe) -> Config | None:
    """Do what only root may: open the log files, read the TLS keys. None if even that would run code of the user's."""
    config = prepare(recipe)
    if config is not None and config.is_ssl and config.ssl_context_factory is None:
        context = config._load_ssl()
        config._load_ssl = lambda: context  # type: ignore[method-assign]
    return config


def load_application(recipe: Recipe, prepared: Config | None, channel: Channel) -> Config:
    """Import the application here; if it cannot be, say why and end."""
    gc.enable()  # nobody knows what it computes
    try:
        return worker_main.load(recipe, prepared)
    except SystemExit:
        reason = "the application could not be loaded"
    except BaseException as error:
        worker_main.print_failure(error)
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
    channel.send(NotLoaded(reason))
    if sys.stderr is not None:
        sys.stderr.flush()
    os._exit(STARTUP_FAILURE)


def _other_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one is not threading.main_thread()]


def start_again_bare(recipe: Recipe, channel: Channel) -> NoReturn:
    """Become a template without the application: a fork would copy the locks of its threads, and not the threads."""
    recipe_fd = recipe.to_file()
    for fd in (recipe_fd, channel.fileno(), recipe.voice, recipe.board, *recipe.listeners):
        os.set_inheritable(fd, True)
    os.execv(sys.executable, command(recipe_fd, channel.fileno(), "bare"))


def load_environment(recipe: Recipe) -> None:
    """Set the variables of the env file that are not set; the file is read anew for each generation."""
    if recipe.settings is not None:
        settings = Settings.from_json(recipe.settings)
        if settings.env_file is not None:
            from uvicorn.sources import read_env_file

            for name, value in read_env_file(settings.env_file).items():
                os.environ.setdefault(name, value)


def import_server(recipe: Recipe) -> None:
    """Import what every worker needs and nothing of the user's. What is missing here each worker pays for itself."""
    settings = Settings() if recipe.settings is None else Settings.from_json(recipe.settings)
    for name in (*the_servers_modules(settings.loop, settings.http, settings.ws), "uvicorn.manager.worker_server"):
        with contextlib.suppress(ImportError):  # an optional package; the worker finds out, and says so
            __import__(name)


def serve(channel: Channel, recipe: Recipe, config: Config | None) -> NoReturn:
    """Fork workers as the master asks, until it is gone."""
    busy = True
    while True:
        if busy and not select.select([channel], [], [], _A_WHILE)[0]:
            busy = False
            return_memory()
        message = channel.receive()
        if channel.at_end:
            os._exit(0)
        if not isinstance(message, Fork) or len(channel.fds) != 2:
            continue
        (fd, dump_fd), channel.fds = channel.fds, []

        def child(between: int, message: Fork = message, fd: int = fd, dump_fd: int = dump_fd) -> NoReturn:
            channel.close()
            worker_main.run(recipe, config, message, Channel.adopt(fd), dump_fd, between)

        try:
            channel.send(Forked(message.id, fork_adopted(child)))
        except OSError as error:
            channel.send(NotForked(message.id, f"cannot fork: {error.strerror or error}"))
        # After the report: when the master sees the end of the worker's channel, it has been told its pid.
        os.close(fd)
        os.close(dump_fd)
