"""The deployment page shows the shipped files, letter by letter."""

from __future__ import annotations

import subprocess
import sys

from .helpers import CONTRIB


def test_the_page_includes_the_files_as_they_are_shipped():
    script = CONTRIB.parent / "docs" / "include_configs.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_page_shows_the_first_choice_of_every_manager():
    page = (CONTRIB.parent / "docs" / "deployment.md").read_text()
    for name in ("systemd/uvicorn.service", "systemd/uvicorn.socket", "supervisor/web.conf", "circus/web.ini"):
        assert (CONTRIB / name).read_text().rstrip() in page
