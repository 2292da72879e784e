"""Which files and directories --reload looks at. Patterns mean what they mean to pathlib's `match`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn.config import Config

INCLUDED = ("*.py",)
EXCLUDED = (".*", ".py[cod]", ".sw.*", "~*")
"""Patterns that hold unless the opposite option names the same pattern: upstream's, documented for years."""

IGNORED_DIRECTORIES = frozenset({"__pycache__", "node_modules", "site-packages"})
"""Never entered, like hidden directories and virtual environments: what lies there is not what somebody edits."""


@dataclass(frozen=True)
class Filter:
    roots: tuple[str, ...]
    """Absolute; looked into whatever their own name is."""
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    excluded_directories: tuple[str, ...] = ()
    _environments: dict[str, bool] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, config: Config) -> Filter:
        return cls(
            roots=tuple(map(str, config.reload_dirs)),
            includes=tuple(config.reload_includes),
            excludes=tuple(config.reload_excludes),
            excluded_directories=tuple(map(str, config.reload_dirs_excludes)),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "roots": self.roots,
            "includes": self.includes,
            "excludes": self.excludes,
            "excluded_directories": self.excluded_directories,
        }

    @classmethod
    def from_json(cls, values: dict[str, list[str]]) -> Filter:
        patterns: dict[str, Any] = {name: tuple(value) for name, value in values.items()}
        return cls(**patterns)

    @cached_property
    def patterns(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The patterns that hold: those of files to look at, and those of files to leave out all the same."""
        includes = tuple(pattern for pattern in INCLUDED if pattern not in self.excludes) + self.includes
        excludes = tuple(pattern for pattern in EXCLUDED if pattern not in self.includes) + self.excludes
        return includes, excludes

    def takes_name(self, path: str) -> bool:
        """Return whether the patterns want a file of this path; where it lies is not looked at."""
        file = Path(path)
        includes, excludes = self.patterns
        matching = [pattern for pattern in includes if file.match(pattern)]
        if any(not _is_glob(pattern) for pattern in matching):
            return True  # asked for by name: ".env" is not meant by the excluded ".*"
        return bool(matching) and not any(file.match(pattern) for pattern in excludes)

    def takes_directory(self, path: str) -> bool:
        """Return whether to look into this directory, whose parent is looked into."""
        if path in self.roots:
            return True
        name = os.path.basename(path)
        if name.startswith(".") or name in IGNORED_DIRECTORIES or self._is_excluded(path):
            return False
        if path not in self._environments:
            self._environments[path] = os.path.exists(os.path.join(path, "pyvenv.cfg"))
        return not self._environments[path]

    def takes(self, path: str) -> bool:
        """Return whether a change of the file at this absolute path is a reason to reload."""
        if not self.takes_name(path):
            return False
        directory = os.path.dirname(path)
        while directory not in self.roots:
            parent = os.path.dirname(directory)
            if parent == directory or not self.takes_directory(directory):
                return False
            directory = parent
        return not self._is_excluded(path)

    def _is_excluded(self, path: str) -> bool:
        return any(_is_below(path, directory) for directory in self.excluded_directories)


def _is_glob(pattern: str) -> bool:
    return any(character in pattern for character in "*?[")


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


_MANY = 8
"""More changed files than this are not named one by one: a branch has been checked out."""


def shown(paths: Iterable[str], directory: str) -> str:
    """Return paths as the log shows them: 'a.py', 'pkg/b.py', relative to `directory` where they lie below it."""
    names = [f"'{os.path.relpath(path, directory) if _is_below(path, directory) else path}'" for path in sorted(paths)]
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return ", ".join(names[:_MANY]) + more
