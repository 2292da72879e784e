"""From "module:attribute" to the object."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from uvicorn.errors import ConfigError, MissingPackage

_ALWAYS = (
    "uvicorn.logging",
    "uvicorn.config",
    "uvicorn.server.lifecycle",
    "uvicorn.lifespan.on",
    "uvicorn.middleware.proxy_headers",
)


def the_servers_modules(loop: Any = "auto", http: Any = "auto", ws: Any = "auto") -> list[str]:
    """Return what a process that serves imports in any case, whatever the application does; nothing of the user's.

    uvloop may not be installed. It comes last.
    """
    from uvicorn.config import HTTP_PROTOCOLS, LOOP_FACTORIES, WS_PROTOCOLS

    tables = ((LOOP_FACTORIES, loop), (HTTP_PROTOCOLS, http), (WS_PROTOCOLS, ws))
    chosen = [table.get(choice) for table, choice in tables if isinstance(choice, str)]
    modules = [*_ALWAYS, *(text.partition(":")[0] for text in chosen if text)]
    return [*modules, "uvloop"] if loop in ("auto", "uvloop") else modules


class ImportFromStringError(Exception):
    """The text names nothing that can be imported. What the module itself raises is passed on as it is."""


def import_from_string(import_str: Any) -> Any:
    """Return the object that "module:attribute[.attribute...]" names; anything but text is returned as it is.

    Raises ImportFromStringError if the text has another form, the module does not exist or lacks the attribute.
    A module that exists, but fails while it is imported (also by importing what does not exist), raises its own error.
    """
    if not isinstance(import_str, str):
        return import_str
    module_name, _, attributes = import_str.partition(":")
    if not module_name or not attributes or module_name.startswith("."):  # a dot first: a path, or relative to nothing
        raise ImportFromStringError(f'Import string "{import_str}" must be in format "<module>:<attribute>".')
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # error.name is the missing module: ours, or a package above it; anything else is missing inside the module
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ImportFromStringError(f'Could not import module "{module_name}".') from None
        raise
    try:
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except AttributeError:
        raise ImportFromStringError(f'Attribute "{attributes}" not found in module "{module_name}".') from None
    return found


def import_choice(setting: str, table: Mapping[str, Any], choice: Any) -> Any:
    """Return what a setting means: a name of the table, "module:Class" or a class. The errors name the setting."""
    found = table.get(choice, choice) if isinstance(choice, str) else choice
    text = f"{setting}: expected one of {', '.join(table)}, module:Class or a class, got {choice!r}"
    if isinstance(found, str) and ":" not in found:
        raise ImportFromStringError(text)
    if not isinstance(found, str) and found is not None and not callable(found):
        raise ConfigError(text)
    with naming(setting, choice):
        return import_from_string(found)


@contextlib.contextmanager
def naming(setting: str, choice: Any) -> Iterator[None]:
    """Around the import of what `choice` means: the errors name the setting, or the package that is missing."""
    try:
        yield
    except ImportFromStringError as error:
        raise ImportFromStringError(f"{setting}: {error}") from None
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != choice:  # what a module of the user's own lacks
            raise
        raise MissingPackage(
            f"{setting}: {choice} needs the package {choice}: pip install {choice} (or uvicorn[standard])"
        ) from None
