"""docs/operations.md explains every line that the master logs from INFO on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
LEVELS = {"info", "warning", "error"}
KNOWN_BY = 40  # characters of what stands between two fields of a line


def lines() -> Iterator[tuple[str, str]]:
    """Each text that is logged, with the file that does it."""
    for file in sorted((ROOT / "manager").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                logged = node.args[0] if node.args else None
                if ast.unparse(node.func.value) == "logger" and isinstance(logged, ast.Constant):
                    yield file.name, logged.value


LINES = sorted(set(lines()))


def test_lines_are_found():
    assert len(LINES) > 30


@pytest.mark.parametrize(("file", "line"), LINES)
def test_each_line_is_explained(file, line):
    piece = max((piece.strip() for piece in re.split(r"%[a-z]", line)), key=len)
    assert piece[:KNOWN_BY].strip() in PAGE, f"{file} logs {line!r}: docs/operations.md does not say what it means"
