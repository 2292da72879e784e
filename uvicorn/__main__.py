"""The command: `uvicorn`, and `python -m uvicorn`.

A command line that is plain and right is read here and served at once. For all else there is click, in
uvicorn.command: help, completion, whatever is refused. Its import would be a large part of every start, and memory of
the master and its workers.
"""

from __future__ import annotations

import os
import sys

from uvicorn import words
from uvicorn.errors import UsersError
from uvicorn.main import serve, version
from uvicorn.settings import not_available
from uvicorn.sources import Resolved, resolve


def main() -> None:
    """Do what the words of this process's command line say; exit as click would."""
    if sys.argv[1:] == ["--version"]:
        print(version())
        return
    resolved = None if _is_completing() else _resolved()
    if resolved is None:
        from uvicorn.command import main as command

        command()
        return
    try:
        serve(resolved)
    except KeyboardInterrupt:  # in the middle of an import: the servers catch their own
        print("\nAborted!", file=sys.stderr)
        sys.exit(1)


def _is_completing() -> bool:
    """Whether a shell asks how a line may go on: click's variable for it has the program's name in it."""
    return any(name.startswith("_") and name.endswith("_COMPLETE") for name in os.environ)


def _resolved() -> Resolved | None:
    """Return the settings to serve with; None if there is anything to be said first."""
    said = words.read(sys.argv[1:])
    if said is None:
        return None
    try:
        resolved = resolve(said)
    except UsersError:
        return None
    settings = resolved.settings
    return None if settings.app is None or settings.check or not_available(settings) else resolved


if __name__ == "__main__":
    main()
