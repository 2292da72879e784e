"""Which directories and patterns --reload watches, from what was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def is_dir(path: Path) -> bool:
    """Return whether `path` is a directory. A path that cannot be looked at (no permission, a loop) is none."""
    try:
        return path.resolve().is_dir()
    except (OSError, RuntimeError):
        return False


def normalize_dirs(dirs: list[str] | str | None) -> list[str]:
    if dirs is None:
        return []
    return [dirs] if isinstance(dirs, str) else list(dict.fromkeys(dirs))


def resolve_reload_patterns(patterns_list: list[str], directories_list: list[str]) -> tuple[list[str], list[Path]]:
    """Split into (patterns, directories): a pattern that matches directories stands for them.

    Directories come out absolute, without those inside another one; patterns are kept as they are.
    """
    from pathlib import Path  # only a reloader needs it

    here = Path.cwd()
    patterns = list(patterns_list)
    directories = [Path(name) for name in directories_list]
    for pattern in patterns_list:
        if pattern == ".*":  # the usual "hidden files"; globbed, it would also give this directory and its parent
            continue
        candidate = Path(pattern)
        if is_dir(candidate):
            directories.append(candidate)
        elif not candidate.is_absolute():
            directories += [match for match in here.glob(pattern) if is_dir(match)]
    absolute = sorted({directory.resolve() for directory in directories})
    outermost = [one for one in absolute if not any(other in one.parents for other in absolute)]
    return patterns, outermost
