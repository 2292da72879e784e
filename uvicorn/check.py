"""uvicorn --check: what the settings are and where each came from, and whether a start would succeed.

Does what a start does up to the point of serving: loads the application, binds (without listening) and runs the
lifespan's startup and shutdown. Nothing is served.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from uvicorn.config import Config
from uvicorn.errors import STARTUP_FAILURE, UsersError
from uvicorn.failures import describe
from uvicorn.precedence import slips
from uvicorn.settings import SETTINGS, Provenance, Settings
from uvicorn.sources import Resolved


def check(resolved: Resolved) -> int:
    """Print what is found, and return the exit code: 0 if a start would succeed, else 3."""
    settings, provenance = resolved.settings, resolved.provenance
    click.echo(f"Settings from {resolved.file}:" if resolved.file else "Settings:")
    for line in table(settings, provenance):
        click.echo(f"  {line}")
    for line in slips(os.environ):
        click.echo(f"Warning: {line}")
    try:
        config = Config(**settings.arguments())
    except UsersError as error:
        click.echo(f"Settings: FAILED: {error}")
        return STARTUP_FAILURE
    # All three, also when the first fails: who checks wants the whole list.
    outcomes = [_report("Application", lambda: _load(config)), _report("Sockets", lambda: _bind(config))]
    if config.loaded:
        outcomes.append(_report("Lifespan", lambda: _lifespan(config)))
    passed = all(outcomes)
    click.echo("All is well." if passed else "It would not start.")
    return 0 if passed else STARTUP_FAILURE


def table(settings: Settings, provenance: Provenance) -> Iterator[str]:
    """Return a line for each setting: its name, value and source; those that were given come first."""
    names = [name for name, one in SETTINGS.items() if one.in_file]
    names.sort(key=lambda name: name not in provenance)  # stable: else in the order of the topics
    rows = [(name, _shown(name, getattr(settings, name)), provenance.get(name, "default")) for name in names]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, source in rows:
        yield f"{name:{widths[0]}}  {value:{min(widths[1], 40)}}  {source}"


def _shown(name: str, value: Any) -> str:
    if value is None or value == ():
        return "-"
    if SETTINGS[name].secret:
        return "********"
    if name == "uds_mode":
        return f"{value:o}"
    if name == "headers":
        return " ".join(f"{header}:{content}" for header, content in value)
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value) or '""'


class _Failed(Exception):
    """A step failed; the text, if any, says why. Without text the log has said it."""


def _report(step: str, do: Callable[[], str]) -> bool:
    start = time.monotonic()
    try:
        text = do()
    except _Failed as failure:
        click.echo(f"{step}: FAILED: {failure}")
        return False
    click.echo(f"{step}: {text} ({time.monotonic() - start:.2f} s)")
    return True


def _load(config: Config) -> str:
    async def load() -> None:
        config.load()  # in a loop, as when it serves: a factory may ask for the running one

    try:
        _run(config, load())
    except SystemExit:
        raise _Failed("the log says why") from None
    except Exception as error:
        text = describe(config, error)
        if text is None:
            raise
        raise _Failed(text) from None
    return f"{config.app} loads, as {config.interface}"


def _bind(config: Config) -> str:
    from uvicorn.listeners import ListenError, open_listeners

    try:
        listeners = open_listeners(config)
    except ListenError as error:
        raise _Failed(str(error)) from None
    addresses = ", ".join(listener.address for listener in listeners)
    for listener in listeners:
        listener.close()
    return f"{addresses} can be listened on"


def _lifespan(config: Config) -> str:
    async def both() -> None:
        lifespan = config.lifespan_class(config)
        await lifespan.startup()
        if lifespan.should_exit:
            raise _Failed("at startup; the log says why")
        await lifespan.shutdown()
        if lifespan.should_exit:
            raise _Failed("at shutdown; the log says why")

    _run(config, both())
    return "off" if config.lifespan == "off" else "startup and shutdown pass"


def _run(config: Config, coroutine: Any) -> None:
    from uvicorn._compat import asyncio_run

    try:
        factory = config.get_loop_factory()
    except BaseException:
        coroutine.close()
        raise
    asyncio_run(coroutine, loop_factory=factory)
