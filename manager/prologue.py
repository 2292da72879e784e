"""The imports that an application begins with, done once in the template for all workers.

A web framework is most of the memory of many applications, and most of the time that they need to start. Imported
before the workers are forked it is shared, and a worker that dies is replaced sooner. `--preload` does that for the
whole application, and asks of it that it can be forked. Here nothing of the application runs: only what the first
statements of its module would do first, in the same order. So it may be done early for modules that are known to do
nothing else at their import than to define things: no thread, no open file, no look at a variable that an application
may set.
"""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder

HARMLESS = frozenset(
    {
        "anyio",
        "django",
        "falcon",
        "fastapi",
        "flask",
        "litestar",
        "pydantic",
        "pydantic_core",
        "quart",
        "starlette",
        "typing_extensions",
    }
)
"""Packages whose import only defines things."""


def first_imports(source: str | bytes) -> tuple[list[str], bool]:
    """Return the harmless modules that a module imports before it does anything else, and whether it does nothing else.

    The look ends at the first statement that is not an import, and at the import of anything that is neither harmless
    nor of the standard library: it may be what changes the others (`gevent.monkey`, tracers). Source that does not
    compile imports nothing.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return [], False
    found: list[str] = []
    for statement in body:
        names = _names(statement)
        if names is None:
            return found, False
        for name in names:
            root = name.partition(".")[0]
            if root in HARMLESS:
                found.append(name)
            elif root not in sys.stdlib_module_names:
                return found, False
    return found, True


def _names(statement: ast.stmt) -> list[str] | None:
    """Return the modules that a statement imports; None if it does something else."""
    match statement:
        case ast.Import(names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case ast.Expr(ast.Constant()):  # the docstring
            return []
        case ast.If(test=ast.Name("TYPE_CHECKING"), orelse=[]):
            return []
        case _:
            return None


def do_first_imports(app: str, path: Sequence[str], late: Sequence[str]) -> None:
    """Import what the module of `app` ("module:attribute") begins with. `late`: what of `path` is the application's.

    Fails never: what cannot be imported here cannot be imported in a worker either, and that one says so.
    """
    with contextlib.suppress(Exception):
        for source in _sources(app.partition(":")[0], path):
            names, nothing_else = first_imports(source)
            for name in names:
                if not _is_installed(name.partition(".")[0], path, late):
                    return
                import_module(name)
            if not nothing_else:
                return


def _sources(module: str, path: Sequence[str]) -> Iterator[bytes]:
    """Return the source of each module that the import of `module` runs: of its packages, and its own."""
    name, where = "", list(path)
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, where)
        if spec is None:
            return
        if spec.origin is not None:
            with open(spec.origin, "rb") as file:
                yield file.read()
        where = list(spec.submodule_search_locations or ())


def _is_installed(name: str, path: Sequence[str], late: Sequence[str]) -> bool:
    """Whether `name` means a package that pip has installed, also for the application: not a module of its own."""
    theirs = _origin(PathFinder.find_spec(name, list(path)))
    ours = _origin(PathFinder.find_spec(name, [one for one in path if one not in late]))
    return theirs is not None and theirs == ours and ("site-packages" in theirs or "dist-packages" in theirs)


def _origin(spec: ModuleSpec | None) -> str | None:
    return spec.origin if spec is not None else None
