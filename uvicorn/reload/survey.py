"""What lies in the watched directories: their subdirectories, and a stamp of each file that matters."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from .filters import Filter

Stamp = tuple[int, int, int]
"""Time of the last change in ns, size, inode: an editor that saves by renaming changes at least the last one."""


@dataclass
class Survey:
    directories: set[str] = field(default_factory=set)
    files: dict[str, Stamp] = field(default_factory=dict)

    def changes_to(self, later: Survey) -> list[str]:
        """Return the paths of files that are new, changed or gone in `later`."""
        return sorted({path for path, _ in self.files.items() ^ later.files.items()})

    def changed_since(self, moment: int) -> list[str]:
        """Return the paths of files changed after `moment`, in ns since the epoch."""
        return sorted(path for path, stamp in self.files.items() if stamp[0] > moment)

    def update(self, path: str) -> bool:
        """Look at one file again; return whether it is not as it was."""
        now = stamp(path)
        if now == self.files.get(path):
            return False
        if now is None:
            del self.files[path]
        else:
            self.files[path] = now
        return True


def stamp(path: str) -> Stamp | None:
    """Return the stamp of the file at `path`; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def survey(filter: Filter) -> Survey:
    """Walk through all that the filter lets us look at; symbolic links are followed, each directory is seen once."""
    found = Survey()
    seen: set[tuple[int, int]] = set()
    todo = list(filter.roots)
    while todo:
        directory = todo.pop()
        try:
            status = os.stat(directory)
            with os.scandir(directory) as listing:
                entries = list(listing)
        except OSError:  # gone, or not ours to read
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        found.directories.add(directory)
        for entry in entries:
            try:
                if entry.is_dir():
                    if filter.takes_directory(entry.path):
                        todo.append(entry.path)
                elif filter.takes(entry.path) and (now := stamp(entry.path)) is not None:
                    found.files[entry.path] = now
            except OSError:
                continue
    return found


def remove_bytecode(sources: Iterable[str]) -> None:
    """Have changed sources compiled anew: Python takes them for unchanged if size and second of change are the same."""
    for source in sources:
        if source.endswith(".py"):
            with contextlib.suppress(OSError, NotImplementedError):
                os.unlink(importlib.util.cache_from_source(source))
