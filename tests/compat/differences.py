"""The list of deliberate differences, docs/differences.toml, and the recorded observations that it is held against."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
UPSTREAM, OURS = HERE / "upstream.json", HERE / "ours.json"
LIST = Path(__file__).parents[2] / "docs" / "differences.toml"


@dataclass(frozen=True)
class Difference:
    topic: str
    what: str
    before: str
    now: str
    why: str
    shown: tuple[str, ...]
    """Patterns of names of observations that are not upstream's because of it; () if none of them looks at it."""

    def covers(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.shown)


@cache
def differences() -> tuple[Difference, ...]:
    document = tomllib.loads(LIST.read_text())
    return tuple(
        Difference(**{**one, "topic": topic, "shown": tuple(one.get("shown", ()))})
        for topic, rows in document.items()
        for one in rows
    )


@cache
def recorded(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, observations: dict[str, Any]) -> None:
    path.write_text(json.dumps(observations, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def is_as_upstream(name: str, ours: Any, upstream: Any) -> bool:
    """Return whether an observation is upstream's. Where ours may have more than upstream's, it may."""
    if name.startswith("api/signature/"):
        return _extends(ours, upstream)
    if name == "api/config/attributes":
        return isinstance(ours, dict) and upstream.items() <= ours.items()
    return bool(ours == upstream)


def _extends(ours: Any, upstream: Any) -> bool:
    """Return whether everything that could be passed to upstream's can be passed in the same way."""
    if not isinstance(ours, list) or not isinstance(upstream, list):
        return bool(ours == upstream)
    same = [mine == theirs or mine.startswith(f"{theirs}=") for mine, theirs in zip(ours, upstream, strict=False)]
    return len(ours) >= len(upstream) and all(same) and all("=" in more for more in ours[len(upstream) :])
