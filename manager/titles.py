"""Names of processes in ps and top, where the package setproctitle is there."""

from __future__ import annotations

import contextlib


def set_title(role: str, name: str) -> None:
    """Call this process "uvicorn: ROLE [NAME]"."""
    with contextlib.suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(f"uvicorn: {role} [{name}]")
