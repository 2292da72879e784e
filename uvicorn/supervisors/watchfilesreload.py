"""`WatchFilesReload`: is told of changes by the system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from socket import socket
from typing import Any

from watchfiles import watch

from uvicorn.config import Config
from uvicorn.reload.filters import Filter
from uvicorn.supervisors.basereload import BaseReload


class FileFilter:
    """Says of a path whether its change is a reason to reload."""

    def __init__(self, config: Config) -> None:
        self._filter = Filter.of(config)
        includes, excludes = self._filter.patterns
        self.includes = list(includes)
        self.excludes = list(excludes)
        self.exclude_dirs = list(config.reload_dirs_excludes)

    def __call__(self, path: Path) -> bool:
        return self._filter.takes(str(path))


class WatchFilesReload(BaseReload):
    reloader_name = "WatchFiles"

    def __init__(self, config: Config, target: Callable[[list[socket] | None], None], sockets: list[socket]) -> None:
        super().__init__(config, target, sockets)
        self.reload_dirs = list(config.reload_dirs)
        self.watch_filter = FileFilter(config)
        self._watching = False

    @property
    def watcher(self) -> Any:
        """The iterator over sets of changes; made when it is first asked for."""
        if not self._watching:
            self._watching = True
            self._watcher = watch(
                *self.reload_dirs,
                watch_filter=None,
                stop_event=self.should_exit,
                rust_timeout=max(1, int(self.config.reload_delay * 1000)),
                yield_on_timeout=True,
                ignore_permission_denied=True,
            )
        return self._watcher

    def should_restart(self) -> list[Path] | None:
        """Return the files that changed within `reload_delay`, if any."""
        self.pause()
        changes = next(self.watcher)
        return [path for path in sorted({Path(name) for _, name in changes}) if self.watch_filter(path)] or None

    @classmethod
    def _our_steps(cls) -> dict[str, Any]:
        return super()._our_steps() | {"should_restart": _SHOULD_RESTART}


_SHOULD_RESTART = WatchFilesReload.should_restart
