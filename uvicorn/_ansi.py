"""Colour for a terminal, with the very bytes that users' log parsers strip."""

from __future__ import annotations

_COLOURS = {
    name: code
    for base, prefix in ((30, ""), (90, "bright_"))
    for code, name in enumerate(
        (prefix + colour for colour in ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")), base
    )
}


def style(text: str, fg: str | None = None, bold: bool = False) -> str:
    """Return `text` in colour `fg` ("cyan", "bright_red") and weight, reset at its end."""
    start = (f"\x1b[{_COLOURS[fg]}m" if fg is not None else "") + ("\x1b[1m" if bold else "")
    return f"{start}{text}\x1b[0m"
