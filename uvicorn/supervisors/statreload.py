"""`StatReload`: looks at the times of the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket
from typing import Any

from uvicorn.config import Config
from uvicorn.reload.filters import Filter
from uvicorn.reload.survey import Survey, stamp, survey
from uvicorn.supervisors.basereload import BaseReload


class StatReload(BaseReload):
    reloader_name = "StatReload"

    def __init__(self, config: Config, target: Callable[[list[socket] | None], None], sockets: list[socket]) -> None:
        super().__init__(config, target, sockets)
        self.mtimes: dict[Path, float] = {}
        self._known: Survey | None = None

    def should_restart(self) -> list[Path] | None:
        """Return the files that are new, changed or gone since the last look; the first look only remembers."""
        self.pause()
        now = Survey(files={str(path): found for path in self.iter_py_files() if (found := stamp(str(path)))})
        before, self._known = self._known, now
        self.mtimes = {Path(path): found[0] / 1e9 for path, found in now.files.items()}
        changes = [] if before is None else before.changes_to(now)
        return [Path(path) for path in changes] or None

    def restart(self) -> None:
        self._known = None
        super().restart()

    def iter_py_files(self) -> Iterator[Path]:
        """Yield the files that are looked at."""
        for path in sorted(survey(Filter.of(self.config)).files):
            yield Path(path)

    @classmethod
    def _our_steps(cls) -> dict[str, Any]:
        return super()._our_steps() | _STEPS


_STEPS = {name: getattr(StatReload, name) for name in ("should_restart", "restart", "iter_py_files")}
