"""What a setting's value may be: text or a value of a file in, the checked value or one clear ValueError out. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite
from typing import Any, NamedTuple


class Kind:
    """A kind of value. `read` raises ValueError or TypeError for others; `expected` completes "expected ..., got"."""

    __slots__ = ("choices", "expected", "metavar", "read")

    def __init__(self, metavar: str, expected: str, read: Callable[[Any], Any], choices: tuple[str, ...] = ()) -> None:
        self.metavar, self.expected, self.read, self.choices = metavar, expected, read, choices

    def parse(self, value: object) -> Any:
        """Return the value for text (of the command line, a variable) or a native value (of a file, a default)."""
        if value is None:
            return None
        try:
            return self.read(value)
        except (ValueError, TypeError, OverflowError, LookupError):
            raise ValueError(f"expected {self.expected}, got {value!r}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError
    return int(value)


def integer(low: int, high: int | None = None) -> Kind:
    def read(value: Any) -> int:
        number = _whole(value)
        if number < low or (high is not None and number > high):
            raise ValueError
        return number

    expected = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    return Kind("INTEGER", expected, read)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError
    if isinstance(value, str):
        try:
            return int(value)  # 5 stays an int, as in upstream
        except ValueError:
            value = float(value)
    number: float = value
    if not isfinite(number):
        raise ValueError
    return number


def _seconds(value: Any) -> float:
    number = _number(value)
    if number < 0:
        raise ValueError
    return number


_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = _text(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def choice(*names: str) -> Kind:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError
        return _text(value)

    return Kind(f"[{'|'.join(names)}]", f"one of {', '.join(names)}", read, names)


def importable(*names: str, unlisted: tuple[str, ...] = ()) -> Kind:
    """One of the names, or module:attribute of the user's own. Unlisted names pass, to be refused with a reason."""

    def read(value: Any) -> str:
        text = _text(value)
        module, colon, attribute = text.partition(":")
        if text not in names + unlisted and not (module and colon and attribute):
            raise ValueError
        return text

    return Kind(f"[{'|'.join(names)}]", f"one of {', '.join(names)} or module:attribute", read, names)


def _workers(value: Any) -> int | str:
    if value == "auto":
        return "auto"
    number = _whole(value)
    if number < 0:
        raise ValueError
    return number or 1  # 0 means one, as it always did


def _mode(value: Any) -> int:
    """Octal text ("660", "0o660"). In a file text too, or 0o660; a bare 660 is another number, and refused."""
    if isinstance(value, bool):
        raise TypeError
    mode = value if isinstance(value, int) else int(_text(value), 8)
    if not 0 <= mode <= 0o777:
        raise ValueError
    return mode


def _memory(value: Any) -> int | str:
    """MiB, or a percentage as text: of what the control group or the machine has."""
    if isinstance(value, str) and value.endswith("%"):
        part = _whole(value[:-1])
        if not 1 <= part <= 100:
            raise ValueError
        return f"{part}%"
    number = _whole(value)
    if number < 1:
        raise ValueError
    return number


def _comma_list(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(_text(item) for item in value)
    return _text(value)


_FORWARDED_HEADERS = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded")


def _forwarded_headers(value: Any) -> str:
    names = [name.strip().lower() for name in _comma_list(value).split(",")]
    if not set(names) <= set(_FORWARDED_HEADERS):
        raise ValueError
    return ",".join(names)


# Not compiled before they are needed: the command would wait for it each time it starts.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110, 5.6.2
_FIELD_VALUE = r"[\t\x20-\x7e\x80-\xff]*"  # RFC 9110, 5.5
_FRAMING = ("content-length", "transfer-encoding")  # each response has its own; a second one would split it


def _header(value: Any) -> tuple[str, str]:
    name, colon, content = _text(value).partition(":") if isinstance(value, str) else (value[0], ":", value[1])
    if not colon or not re.fullmatch(_TOKEN, name) or not re.fullmatch(_FIELD_VALUE, content):
        raise ValueError
    if name.lower() in _FRAMING:
        raise ValueError
    return name, content


class Tcp(NamedTuple):
    host: str
    port: int


class Unix(NamedTuple):
    path: str


class Inherited(NamedTuple):
    fd: int
    name: str = ""
    """What whoever passed it calls it."""


_PORT = integer(0, 65535)


def parse_address(text: str) -> Tcp | Unix | Inherited:
    """Return what host:port, :port, [v6]:port, unix:PATH or fd://N names. Raises ValueError."""
    if text.startswith("unix:"):
        # unix:/path and unix:///path; unix:path is relative to the working directory
        path = text.removeprefix("unix:")
        path = path.removeprefix("//") if path.startswith("///") else path
        if not path or "\0" in path:
            raise ValueError(text)
        return Unix(path)
    if text.startswith("fd://"):
        number = text.removeprefix("fd://")
        if not number.isdecimal():
            raise ValueError(text)
        return Inherited(int(number))
    host, colon, port = text.removeprefix("tcp://").rpartition(":")
    if host.startswith("["):
        if not host.endswith("]"):
            raise ValueError(text)
        host = host[1:-1]
        if ":" not in host:
            raise ValueError(text)
    elif ":" in host:  # ::1:8000 could mean two things
        raise ValueError(text)
    if not colon or not port.isdecimal():
        raise ValueError(text)
    return Tcp(host, _PORT.parse(port))


def _address(value: Any) -> str:
    parse_address(_text(value))
    return str(value)


TEXT = Kind("TEXT", "text", _text)
PATH = Kind("PATH", "a path", _text)
EXISTING_PATH = Kind("PATH", "a path", _text)  # that it exists is looked up by uvicorn.sources
BOOLEAN = Kind("BOOLEAN", "true or false", _boolean)
SECONDS = Kind("SECONDS", "a number of seconds, 0 or more", _seconds)
NUMBER = Kind("SECONDS", "a number of seconds", _number)
WORKERS = Kind("NUMBER|auto", "an integer of at least 1, or auto", _workers)
MODE = Kind("MODE", "permissions in octal, as 660", _mode)
MEMORY = Kind("MIB|PERCENT", "MiB, an integer of at least 1, or a percentage from 1% to 100%", _memory)
COMMA_LIST = Kind("LIST", "text, separated by commas", _comma_list)
FORWARDED_HEADERS = Kind("HEADERS", f"some of {', '.join(_FORWARDED_HEADERS)}", _forwarded_headers)
HEADER = Kind("NAME:VALUE", "Name:Value without control characters, not Content-Length or Transfer-Encoding", _header)
ADDRESS = Kind("ADDRESS", "host:port, [v6]:port, unix:PATH or fd://N", _address)
