"""The words of the command line, read without click, which takes longer to import than all else that a master needs.

Pure. Only what is plain and right is read here; whatever is to be refused, completed or explained is left to click, so
that there is one who speaks to the user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from uvicorn.settings import SETTINGS, Setting

_OPTIONS: Mapping[str, Setting] = {
    option: one for one in SETTINGS.values() for option in (one.short, one.long_option) if option and one.name != "app"
}
_OFF: Mapping[str, Setting] = {one.off_option: one for one in SETTINGS.values() if one.off_option}


def read(words: Sequence[str]) -> dict[str, Any] | None:
    """Return the settings that these words name, as click would; None: ask click."""
    said: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            if "app" in said or not word:
                return None
            said["app"] = word
            continue
        if word in _OFF:
            said[_OFF[word].name] = False
            continue
        option, equals, text = word.partition("=")
        one = _OPTIONS.get(option)
        if one is None or (equals and (one.flag or option == one.short)):
            return None
        if one.flag:
            said[one.name] = True
            continue
        if not equals:
            text = next(rest, "")
        if not text or text.startswith("-"):
            return None
        try:
            value = one.kind.parse(text)
        except ValueError:
            return None
        said[one.name] = (*said.get(one.name, ()), value) if one.many else value
    return said
