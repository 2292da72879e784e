import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_pages_say_what_the_tables_say():
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make_manager_pages.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
