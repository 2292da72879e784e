"""The Forwarded header of RFC 7239: what each proxy on the way says of whom it got the request from. Pure."""

from __future__ import annotations

import re

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# A value in quotes is needed for what no token can hold: "[2001:db8::1]:4711", "1.2.3.4:80". Ports and IPv6 addresses
# without quotes are seen in the wild, and their meaning is plain.
_PAIR = re.compile(rf'[ \t]*({_TOKEN})=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]+))[ \t]*')
_ESCAPE = re.compile(r"\\(.)")


def parse_forwarded(value: str) -> list[dict[str, str]] | None:
    """Return the elements, the first proxy's first, as parameter -> value, names in lower case.

    None for a header that breaks the grammar, or names a parameter twice: nothing of it can be relied on (section 4).
    """
    elements: list[dict[str, str]] = []
    position, element = 0, dict[str, str]()
    while position < len(value):
        if value[position] in ",; \t":  # empty elements and pairs are allowed, as in every list
            if value[position] == "," and element:
                elements.append(element)
                element = {}
            position += 1
            continue
        match = _PAIR.match(value, position)
        if match is None or (match.end() < len(value) and value[match.end()] not in ",;"):
            return None
        name = match[1].lower()
        if name in element:
            return None
        element[name] = match[3] if match[2] is None else _ESCAPE.sub(r"\1", match[2])
        position = match.end()
    return [*elements, element] if element else elements
