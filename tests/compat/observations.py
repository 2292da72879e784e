"""All observations of one uvicorn, in groups; each group is a few processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .cases import COMMANDS, HTTP, WEBSOCKET
from .observing import Observations, Refusal, observe_api, observe_served

PARSERS = ("httptools", "h11")
WEBSOCKETS = ("websockets-sansio", "wsproto")
Group = Callable[[str, Path], Observations]
"""Called with an interpreter and an empty folder."""


def _http(parser: str) -> Group:
    return lambda python, folder: _named(f"http/{parser}", observe_served(python, folder, HTTP, "--http", parser))


def _websocket(protocol: str) -> Group:
    arguments = ("--ws", protocol, "--ws-max-size", "200", "--ws-ping-interval", "0")
    return lambda python, folder: _named(f"websocket/{protocol}", observe_served(python, folder, WEBSOCKET, *arguments))


def _named(group: str, found: Observations) -> Observations:
    return {f"{group}/{name}": value for name, value in found.items()}


def _command(name: str) -> Group:
    def observe(python: str, folder: Path) -> Observations:
        found = COMMANDS[name].observe(python, folder)
        return {f"command/{name}.{facet}": value for facet, value in found.items()}

    return observe


def _refusal(parser: str) -> Group:
    garbage = Refusal(b"garbage\r\n\r\n")
    return lambda python, folder: {f"refusal/{parser}": garbage.observe(python, folder, "--http", parser)}


GROUPS: dict[str, Group] = {
    "api": lambda python, folder: _named("api", observe_api(python, folder)),
    **{f"http/{parser}": _http(parser) for parser in PARSERS},
    **{f"refusal/{parser}": _refusal(parser) for parser in PARSERS},
    **{f"websocket/{protocol}": _websocket(protocol) for protocol in WEBSOCKETS},
    **{f"command/{name}": _command(name) for name in COMMANDS},
}


def belongs(name: str, group: str) -> bool:
    """Return whether an observation of this name is made by this group."""
    return name == group or name.startswith((f"{group}/", f"{group}."))
