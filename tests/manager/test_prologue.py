"""What an application imports before it does anything else: what is found, and what ends the look."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from uvicorn.manager.prologue import HARMLESS, first_imports

WHOLE = [
    ("", []),
    ('"""Docstring."""', []),
    ("import os, sys", []),
    ("import fastapi", ["fastapi"]),
    ("import os\nfrom fastapi import FastAPI", ["fastapi"]),
    ("from __future__ import annotations\nfrom fastapi.responses import JSONResponse", ["fastapi.responses"]),
    ("import starlette.routing as r, json", ["starlette.routing"]),
    ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sqlalchemy\nimport pydantic", ["pydantic"]),
]
ENDED = [
    ("import gevent.monkey\nimport fastapi", []),
    ("from ddtrace import patch\nimport fastapi", []),
    ("import fastapi\nimport sqlalchemy\nimport pydantic", ["fastapi"]),
    ("import fastapi, sqlalchemy, pydantic", ["fastapi"]),
    ("import os\nos.environ['X'] = '1'\nimport fastapi", []),
    ("import fastapi\napp = fastapi.FastAPI()\nimport pydantic", ["fastapi"]),
    ("from . import fastapi", []),
    ("from .fastapi import app\nimport pydantic", []),
    ("try:\n    import fastapi\nexcept ImportError:\n    pass", []),
    ("if TYPE_CHECKING:\n    pass\nelse:\n    import x\nimport fastapi", []),
    ("def f():\n    import fastapi", []),
    ("import fastapi\nthis is no Python", []),
    ("\0", []),
]


@pytest.mark.parametrize(("source", "names"), WHOLE)
def test_harmless_imports_are_found_to_the_end_of_the_module(source: str, names: list[str]) -> None:
    assert first_imports(source) == (names, True)


@pytest.mark.parametrize(("source", "names"), ENDED)
def test_the_look_ends_at_whatever_may_change_what_comes_after(source: str, names: list[str]) -> None:
    assert first_imports(source) == (names, False)


def test_no_harmless_package_starts_a_thread_or_leaves_a_file_open() -> None:
    program = (
        "import os, sys, threading\n"
        "before = len(os.listdir('/proc/self/fd'))\n"
        f"for name in {sorted(HARMLESS)!r}:\n"
        "    try:\n"
        "        __import__(name)\n"
        "    except ImportError:\n"
        "        print('not installed:', name, file=sys.stderr)\n"
        "print(len(os.listdir('/proc/self/task')), len(os.listdir('/proc/self/fd')) - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1 0\n", done.stderr


def run(program: str, tmp_path: Path) -> str:
    prelude = "import sys\nfrom uvicorn.manager.prologue import do_first_imports\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    return done.stdout.strip()


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """A folder in which pip could have installed a `falcon` that is none."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "falcon.py").write_text("print('imported')\n")
    return str(folder)


def test_the_packages_around_the_module_are_looked_at_first(tmp_path: Path, installed: str) -> None:
    package = tmp_path / "site" / "inner"
    package.mkdir(parents=True)
    (tmp_path / "site" / "__init__.py").write_text("import os\n")
    (package / "__init__.py").write_text("")
    (package / "main.py").write_text("import falcon\nraise Exception('ran')\n")
    paths = [str(tmp_path), installed]
    call = f"do_first_imports('site.inner.main:app', {paths!r}, {paths[:1]!r})"
    assert run(f"sys.path[:0] = {paths!r}\n{call}", tmp_path) == "imported"
    (tmp_path / "site" / "__init__.py").write_text("x = 1\n")
    assert run(f"sys.path[:0] = {paths!r}\n{call}", tmp_path) == ""


def test_a_module_of_the_application_with_the_name_of_a_framework_is_left_to_the_worker(
    tmp_path: Path, installed: str
) -> None:
    (tmp_path / "falcon.py").write_text("print('his own')\n")
    (tmp_path / "main.py").write_text("import falcon\n")
    paths = [str(tmp_path), installed]
    call = f"do_first_imports('main:app', {paths!r}, {paths[:1]!r})"
    assert run(f"sys.path[:0] = {paths!r}\n{call}", tmp_path) == ""


@pytest.mark.parametrize("app", ["nothing_there:app", "nothing.there:app", ":", "", "broken:app", "folder:app"])
def test_what_cannot_be_found_or_read_is_left_to_the_worker(tmp_path: Path, app: str) -> None:
    (tmp_path / "broken.py").write_bytes(b"\xff\xfe import falcon")
    (tmp_path / "folder").mkdir()
    assert run(f"do_first_imports({app!r}, [{str(tmp_path)!r}], [])", tmp_path) == ""
