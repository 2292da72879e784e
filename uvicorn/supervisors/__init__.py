"""The supervisors under the names that programs know: `ChangeReload` reloads, `Multiprocess` runs workers."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

from uvicorn.supervisors.basereload import BaseReload
from uvicorn.supervisors.multiprocess import Multiprocess

if TYPE_CHECKING:
    ChangeReload: TypeAlias = BaseReload
elif find_spec("watchfiles") is None:
    from uvicorn.supervisors.statreload import StatReload as ChangeReload
else:
    from uvicorn.supervisors.watchfilesreload import WatchFilesReload as ChangeReload

__all__ = ["ChangeReload", "Multiprocess"]
