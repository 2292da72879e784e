"""What master, templates and workers say to each other, to and from bytes. One message is one packet: a JSON array.

The text of a message is for people; decisions are made on its type. A message of a type that this version does not
know decodes to None and is passed over: after an upgrade in place, old workers talk to a newer master.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from typing import TypeAlias

PROTOCOL = 1
"""Templates announce it; a master refuses a rollout from one that speaks another."""
LONGEST_TEXT = 32_000
"""Characters of text in a message: a packet must fit into a socket's buffer (about 200 KB)."""


# -- worker to master --


@dataclass(frozen=True, slots=True)
class Booting:
    """The process runs; sent by itself, in case that its template dies before it can report it."""

    pid: int


@dataclass(frozen=True, slots=True)
class Starting:
    """The application is imported; lifespan startup begins."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Lifespan startup is complete, and connections are accepted."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It will not become ready, and ends now."""

    reason: str


@dataclass(frozen=True, slots=True)
class Leaving:
    """It drains although the master did not tell it to."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unfit:
    """It has reached a limit and wants to be replaced; it serves until it is told to retire."""

    reason: str


@dataclass(frozen=True, slots=True)
class Closed:
    """It accepts no more, and has taken everything that waited in the queue if it was to."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """Its connections are done; lifespan shutdown begins."""


# -- master to worker --


@dataclass(frozen=True, slots=True)
class Retire:
    """Leave while others serve on."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Everything stops: take what waits in the queue, finish it, end."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Wait for requests no longer; lifespan shutdown still runs."""


@dataclass(frozen=True, slots=True)
class Force:
    """End at once."""


@dataclass(frozen=True, slots=True)
class Reopen:
    """Open the log files again."""


# -- template to master --


@dataclass(frozen=True, slots=True)
class Loaded:
    """The template can fork."""

    protocol: int
    version: str
    preloaded: bool
    """The application is imported in it: it holds this code whatever becomes of the files."""


@dataclass(frozen=True, slots=True)
class NotLoaded:
    """The template cannot load the application (or itself), and ends now."""

    reason: str


@dataclass(frozen=True, slots=True)
class Forked:
    """The worker `id` runs as `pid`, and is the master's child by now."""

    id: int
    pid: int


@dataclass(frozen=True, slots=True)
class NotForked:
    id: int
    reason: str


# -- master to template --


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork the worker `id` for `slot`; its end of the channel and the file for its last words come with the packet."""

    id: int
    slot: int
    row: int
    """Its row in the scoreboard."""


Message: TypeAlias = (
    Booting
    | Starting
    | Ready
    | Failed
    | Leaving
    | Unfit
    | Closed
    | Stopping
    | Retire
    | Stop
    | Cancel
    | Force
    | Reopen
    | Loaded
    | NotLoaded
    | Forked
    | NotForked
    | Fork
)

_TYPES: dict[str, type[Message]] = {kind.__name__: kind for kind in Message.__args__}


def encode(message: Message) -> bytes:
    """Return the packet of a message; text that is too long loses its middle."""
    values = [_shortened(value) if isinstance(value, str) else value for value in astuple(message)]
    return json.dumps([type(message).__name__, *values]).encode()


def decode(packet: bytes) -> Message | None:
    """Return the message of a packet; None if this version does not know it."""
    try:
        name, *values = json.loads(packet)
        return _TYPES[name](*values)
    except (ValueError, KeyError, TypeError):
        return None


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
