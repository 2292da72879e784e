"""Building the distribution from a copy of the checkout, since building leaves files beside the sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from .processes import in_environment

ROOT = Path(__file__).parents[2]
CALL = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


def copy_checkout(destination: Path) -> Path:
    skipped = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "results")
    shutil.copytree(ROOT, destination, symlinks=True, ignore=skipped)
    return destination


def build(hook: str, project: Path, destination: Path) -> Path:
    """Call `build_wheel` or `build_sdist` of this environment's setuptools; returns what it made."""
    destination.mkdir(exist_ok=True)
    built = subprocess.run(
        [sys.executable, "-c", CALL, hook, str(destination)],
        cwd=project,
        capture_output=True,
        text=True,
        env=in_environment(),
    )
    if built.returncode:
        raise AssertionError(f"{hook} failed:\n{built.stdout}{built.stderr}")
    return destination / built.stdout.splitlines()[-1]
