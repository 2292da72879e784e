"""What master, templates and workers say to each other, to and from bytes. One message is one packet: a JSON array.

The text of a message is for people; decisions are made on its type. A message of a type that this version does not
know decodes to None and is passed over: after an upgrade in place, old workers talk to a newer master.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias, dataclass_transform

PROTOCOL = 1
"""Templates announce it; a master refuses a rollout from one that speaks another."""
LONGEST_TEXT = 32_000
"""Characters of text in a message: a packet must fit into a socket's buffer (about 200 KB)."""


@dataclass_transform(frozen_default=True)
class Packet:
    """A message: its fields are the annotations of its class, in order.

    Not a dataclass, which compiles code for each class: for so many that is a tenth of the time that a master needs to
    start.
    """

    __match_args__: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls.__match_args__ = tuple(cls.__dict__.get("__annotations__", ()))  # type: ignore[misc]  # noqa: RUF063  # no inspect

    def __init__(self, *values: Any) -> None:
        """Raises TypeError if there are more or fewer values than fields."""
        if len(values) != len(self.__match_args__):
            raise TypeError(f"{type(self).__name__} has {len(self.__match_args__)} fields, not {len(values)}")
        self.values = values
        self.__dict__.update(zip(self.__match_args__, values, strict=True))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.values))

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.values!r}"


# -- worker to master --


class Booting(Packet):
    """The process runs; sent by itself, in case that its template dies before it can report it."""

    pid: int


class Starting(Packet):
    """The application is imported; lifespan startup begins."""


class Ready(Packet):
    """Lifespan startup is complete, and connections are accepted."""


class Failed(Packet):
    """It will not become ready, and ends now."""

    reason: str


class Leaving(Packet):
    """It drains although the master did not tell it to."""

    reason: str


class Unfit(Packet):
    """It has reached a limit and wants to be replaced; it serves until it is told to retire."""

    reason: str


class Closed(Packet):
    """It accepts no more, and has taken everything that waited in the queue if it was to."""


class Stopping(Packet):
    """Its connections are done; lifespan shutdown begins."""


# -- master to worker --


class Retire(Packet):
    """Leave while others serve on."""


class Stop(Packet):
    """Everything stops: take what waits in the queue, finish it, end."""


class Cancel(Packet):
    """Wait for requests no longer; lifespan shutdown still runs."""


class Force(Packet):
    """End at once."""


class Reopen(Packet):
    """Open the log files again."""


# -- template to master --


class Loaded(Packet):
    """The template can fork."""

    protocol: int
    version: str
    preloaded: bool
    """The application is imported in it: it holds this code whatever becomes of the files."""


class NotLoaded(Packet):
    """The template cannot load the application (or itself), and ends now."""

    reason: str


class Forked(Packet):
    """The worker `id` runs as `pid`, and is the master's child by now."""

    id: int
    pid: int


class NotForked(Packet):
    id: int
    reason: str


# -- master to template --


class Fork(Packet):
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
    values = [_shortened(value) if isinstance(value, str) else value for value in message.values]
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
