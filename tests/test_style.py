"""The tools that judge the style of the sources; the words `make lint` and `make types` run the same."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


@needs("ruff")
def test_ruff_finds_nothing():
    run("-m", "ruff", "check", ".")


@needs("ruff")
def test_every_file_is_formatted():
    run("-m", "ruff", "format", "--check", ".")


@needs("mypy")
@pytest.mark.timeout(900)
def test_types_agree():
    run("-m", "mypy")


def test_generated_documents_are_up_to_date():
    run("docs/make_settings.py", "--check")
