"""What somebody may have meant who named an application that is not there.

Nothing is imported to find it out: a directory is listed, and a source file is parsed. Only what surely exists is
suggested.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches

_USUAL = ("app", "application", "asgi", "api", "server", "create_app")
"""Names that applications have, the likeliest first."""
_LARGEST = 1_000_000
"""Octets of a source that is still looked into."""


def did_you_mean(import_str: str, directories: Iterable[str] | None = None) -> str | None:
    """Return the import string that was probably meant; None if there is nothing near.

    `directories`: where to look for modules; None is what the application is searched in, without what is installed.
    """
    module, _, attributes = import_str.partition(":")
    for place in _own_directories() if directories is None else directories:
        found = _module_near(module, place)
        attribute = None if found is None else _attribute_near(attributes, _names_of(found, place))
        if attribute is not None and (meant := f"{found}:{attribute}") != import_str:
            return meant
    return None


def _own_directories() -> list[str]:
    installed = ("site-packages", "dist-packages")
    found: list[str] = []
    for path in sys.path:
        directory = path or os.getcwd()
        if directory not in found and os.path.basename(directory) not in installed and os.path.isdir(directory):
            found.append(directory)
    standard = os.path.dirname(os.__file__)
    return [directory for directory in found if not directory.startswith(standard)]


def _module_near(name: str, directory: str) -> str | None:
    """Return the dotted name of a module below `directory`: `name` itself, or what it is a slip of."""
    name = name.removeprefix("./").removesuffix(".py").replace("/", ".").replace("\\", ".")
    parts: list[str] = []
    for part in name.split("."):
        there = _modules_in(os.path.join(directory, *parts))
        near = part if part in there else next(iter(get_close_matches(part, there, n=1, cutoff=0.7)), None)
        if near is None:
            return None
        parts.append(near)
    return ".".join(parts)


def _modules_in(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return []
    names = [entry.name.removesuffix(".py") for entry in entries if entry.name.endswith(".py") or _is_package(entry)]
    return [name for name in names if name.isidentifier() and name != "__init__"]


def _is_package(entry: os.DirEntry[str]) -> bool:
    """Whether it is a directory with Python files; a package needs no `__init__.py`."""
    if not entry.name.isidentifier():
        return False
    try:
        return entry.is_dir() and any(name.endswith(".py") for name in os.listdir(entry.path))
    except OSError:
        return False


def _names_of(module: str, directory: str) -> list[str]:
    """Return the names that the module binds at its top level, as far as its source shows; [] if it has none."""
    path = os.path.join(directory, *module.split("."))
    for source in (f"{path}.py", os.path.join(path, "__init__.py")):
        try:
            if os.path.getsize(source) > _LARGEST:
                return []
            with open(source, "rb") as file:
                tree = ast.parse(file.read())
        except (OSError, SyntaxError, ValueError):
            continue
        return list(dict.fromkeys(name for statement in tree.body for name in _bound_by(statement)))
    return []


def _bound_by(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.ImportFrom(names=names) | ast.Import(names=names):
            return [alias.asname or alias.name for alias in names]
    return []


def _attribute_near(wanted: str, names: list[str]) -> str | None:
    """Return `wanted`, its first name put right if need be; what applications are called if nothing is near."""
    first, dot, rest = wanted.partition(".")
    if not first:
        return next((name for name in _USUAL if name in names), None)
    if first in names:
        return wanted
    near = get_close_matches(first, names, n=1, cutoff=0.6) or [name for name in _USUAL if name in names]
    return f"{near[0]}{dot}{rest}" if near else None
