"""docs/settings.md is generated, and never edited."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_settings_is_up_to_date():
    ran = subprocess.run(
        [sys.executable, ROOT / "docs/make_settings.py", "--check"], capture_output=True, text=True, timeout=120
    )
    assert (ran.returncode, ran.stderr) == (0, "")
