"""What a program gives `Config`: checked as the command line is, though more is taken than a text can say.

Upstream checks nothing: a wrong type shows at the first connection, or never, and a number outside of the range has
always been taken (one that is no port is refused where it is bound). So here the type of every setting is checked, the
range only of those that upstream does not have, or would fail with too. Booleans are not looked at: anything is true or
false in Python.

Pure.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from operator import index
from typing import Any

from uvicorn.errors import SettingError
from uvicorn.kinds import BOOLEAN, EXISTING_PATH, HEADER, PATH, SECONDS, WORKERS
from uvicorn.settings import SETTINGS, Setting

# Not: a class, a dict, an iterable where a text says a name of it; a name that a program may have added.
CHECKED: Mapping[str, Setting] = {
    name: one
    for name, one in SETTINGS.items()
    if not one.command_only and one.kind is not BOOLEAN and one.python != "unchecked"
}


def accept(one: Setting, value: Any) -> Any:
    """Return the value to use: this one, or the plain one that it stands for. SettingError says what was expected.

    "5" is 5, as in a variable; a number of numpy's becomes one of Python's; a path may be a Path.
    """
    if value is None:
        return None if one.none else one.default
    if one.many or one.name == "host":  # several hosts have always been taken, if not advertised
        items = value if isinstance(value, (list, tuple)) else [value]
        plain = [_one(one, item) for item in items]
        return plain if items is value or one.name == "bind" else plain[0]
    return _one(one, value)


def _one(one: Setting, value: Any) -> Any:
    if one.kind in (PATH, EXISTING_PATH):
        if isinstance(value, (str, bytes, os.PathLike)):
            return value
        raise SettingError(f"{one.name}: expected a path, got {value!r}")
    if one.secret and isinstance(value, (str, bytes)):
        return value
    plain = _plain(value)
    if one.python == "any size" and isinstance(plain, (int, float)) and not math.isnan(plain):
        if one.kind is SECONDS:
            return plain
        if math.isinf(plain) and one.default is None:
            return None  # no limit
        if math.isfinite(plain):
            return math.ceil(plain)
    try:
        return one.kind.parse(plain)
    except ValueError as error:
        text = f"expected text, got {type(value).__name__}" if one.secret else str(error)
        raise SettingError(f"{one.name}: {text}") from None


def _plain(value: Any) -> Any:
    """Return the int or float that an object stands for (numpy's, Decimal, True); any other as it is."""
    if isinstance(value, (str, float)) or type(value) is int:
        return value
    try:
        if hasattr(type(value), "__index__"):
            return index(value)
        if hasattr(type(value), "__float__"):
            return float(value)
    except (TypeError, ValueError):
        pass
    return value


def check_headers(headers: Any) -> list[tuple[str, str]]:
    """Return `headers`, which were taken as pairs of text that may stand in a response. Raises SettingError."""
    if not headers:
        return []
    expected = "expected a list of (name, value)"
    if isinstance(headers, (str, bytes, Mapping)):
        raise SettingError(f"headers: {expected}, got {headers!r}")
    found = headers if isinstance(headers, (list, tuple)) else list(headers)
    for pair in found:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise SettingError(f"headers: {expected}, two texts each, got {pair!r}")
        try:
            HEADER.parse(pair)
        except ValueError as error:
            raise SettingError(f"headers: {error}") from None
    return found  # type: ignore[return-value]  # the very list: programs add to it


def accept_workers(value: Any) -> int | str | None:
    """Return the number of workers, "auto", or None where nobody said one. A number below 1 has always meant one."""
    plain = _plain(value)
    if not isinstance(plain, str) and plain is not None:
        try:
            return max(1, int(plain))
        except (TypeError, ValueError, OverflowError):
            pass
    try:
        return WORKERS.parse(plain)  # type: ignore[no-any-return]
    except ValueError as error:
        raise SettingError(f"workers: {error}") from None


def check_names(name: str, value: Any) -> Any:
    """Return `value`, which is a text or some texts or paths. Raises SettingError."""
    if isinstance(value, (str, os.PathLike)):
        return value
    try:
        texts = all(isinstance(one, (str, os.PathLike)) for one in value)
    except TypeError:
        texts = False
    if not texts:
        raise SettingError(f"{name}: expected text, or a list of texts, got {value!r}")
    return value
