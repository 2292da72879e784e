"""Who may import whom. The tables are the architecture; docs/architecture.md tells it in words."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"uvicorn": "uvicorn", "server": "uvicorn.server", "manager": "uvicorn.manager"}

ABOVE = {"__init__", "__main__", "command", "main", "check", "workers"}
"""Modules of uvicorn/ that pick and start servers; all its others are the base that everything stands on."""
BASE = sorted({file.stem for file in (ROOT / "uvicorn").glob("*.py")} - ABOVE)
BASE_NAMES = {f"uvicorn.{name}" for name in BASE} | {"uvicorn.__version__"}

# What a layer may import at all, wherever in the file; a name stands for itself and all below it.
MAY_IMPORT = {
    "server": BASE_NAMES | {"uvicorn.server"},
    "manager": BASE_NAMES | {"uvicorn.server", "uvicorn.manager"},
    "uvicorn/reload": BASE_NAMES | {"uvicorn.server", "uvicorn.manager", "uvicorn.reload", "uvicorn.main"},
}
# What base modules may import when they are imported. Inside functions they may reach up, as `Config.load` must.
BASE_MAY_IMPORT = BASE_NAMES
# Re-exports under the names that the ecosystem knows.
COMPAT_MAY_IMPORT = BASE_NAMES | {"uvicorn.server", "uvicorn.manager", "uvicorn.reload"}
COMPAT = ["lifespan", "loops", "middleware", "protocols", "supervisors"]

PURE = {
    "uvicorn": ["settings", "kinds", "precedence", "words"],
    "server": ["head", "body", "scope", "response", "limits"],
    "server/": ["websocket", "websocket_frames", "websocket_deflate", "websocket_engines"],
    "manager": ["worker", "plan", "backoff", "messages", "handle"],
}
"""Modules that only compute: what they need to know of the world is given to them, time among it."""
THE_WORLD = {"os", "signal", "socket", "asyncio", "time", "logging", "select", "selectors", "subprocess", "threading"}


@dataclass(frozen=True)
class Import:
    file: Path
    line: int
    name: str
    level: int
    """Leading dots of a relative import."""
    at_import: bool
    """Whether it happens when the module is imported: not in a function, not for type checkers only."""
    for_types: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {'.' * self.level}{self.name}"


def imports(file: Path) -> Iterator[Import]:
    def visit(node: ast.AST, at_import: bool, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, 0, at_import, for_types)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "uvicorn":
                for alias in node.names:
                    yield Import(file, node.lineno, f"uvicorn.{alias.name}", node.level, at_import, for_types)
            else:
                yield Import(file, node.lineno, node.module or "", node.level, at_import, for_types)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from visit(child, False, True)
            for child in node.orelse:
                yield from visit(child, at_import, for_types)
        else:
            in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, at_import and not in_function, for_types)

    yield from visit(ast.parse(file.read_text()), True, False)


def files(folder: str) -> list[Path]:
    """The sources of a folder, without those of the folders linked into it."""
    return sorted(file for file in (ROOT / folder).rglob("*.py") if not any(p.is_symlink() for p in file.parents))


def is_below(name: str, allowed: set[str]) -> bool:
    return any(name == top or name.startswith(top + ".") for top in allowed)


def ours(file: Path) -> Iterator[Import]:
    return (found for found in imports(file) if found.level == 0 and found.name.split(".")[0] == "uvicorn")


def listed(found: list[Import]) -> str:
    return "\n".join(map(str, found))


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_go_one_way(folder):
    wrong = [found for file in files(folder) for found in ours(file) if not is_below(found.name, MAY_IMPORT[folder])]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("folder", ["server", "manager"])
def test_relative_imports_stay_in_their_folder(folder):
    wrong = [
        found
        for file in files(folder)
        for found in imports(file)
        if found.level > len(file.relative_to(ROOT / folder).parts)
    ]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("folder", FOLDERS)
def test_nobody_imports_a_folder_by_its_own_name(folder):
    wrong = [
        found
        for file in files(folder)
        for found in imports(file)
        if found.level == 0 and found.name.split(".")[0] in ("server", "manager")
    ]
    assert not wrong, f"a second copy of every class:\n{listed(wrong)}"


def test_the_base_imports_nothing_above_it():
    wrong = [
        found
        for name in BASE
        for found in imports(ROOT / "uvicorn" / f"{name}.py")
        if found.at_import
        and (
            (found.level == 0 and found.name.startswith("uvicorn") and not is_below(found.name, BASE_MAY_IMPORT))
            or (found.level > 0 and found.name.split(".")[0] not in BASE)
        )
    ]
    assert not wrong, listed(wrong)


def test_compatibility_packages_only_pass_names_on():
    wrong = []
    for name in COMPAT:
        for file in files(f"uvicorn/{name}"):
            wrong += [
                found for found in ours(file) if not is_below(found.name, COMPAT_MAY_IMPORT | {f"uvicorn.{name}"})
            ]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize(("folder", "module"), [(folder, module) for folder in PURE for module in PURE[folder]])
def test_pure_modules_do_not_touch_the_world(folder, module):
    file = ROOT / folder / f"{module}.py"
    if not file.exists():
        pytest.skip(f"there is no {folder}/{module}.py")
    wrong = [found for found in imports(file) if not found.for_types and found.name.split(".")[0] in THE_WORLD]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("module", ["uvicorn", "uvicorn.main", "uvicorn.manager.master"])
def test_the_command_and_the_master_start_without_the_slow_modules(module):
    source = f"import sys, {module}; print(*(sys.modules.keys() & {{'asyncio', 'click', 'ssl', 'uvloop'}}))"
    found = subprocess.run([sys.executable, "-c", source], cwd=ROOT / "tests", capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == []


def test_files_are_short_enough_to_read():
    lengths = {file: len(file.read_text().splitlines()) for folder in FOLDERS for file in files(folder)}
    assert {str(file.relative_to(ROOT)): length for file, length in lengths.items() if length > 800} == {}
