"""An ASGI server. `uvicorn.main` is the command (a click.Command), not the module of that name."""

from typing import TYPE_CHECKING, Any

from uvicorn.main import run

if TYPE_CHECKING:
    from uvicorn.command import main as main
    from uvicorn.config import Config as Config
    from uvicorn.server import Server as Server

__version__ = "0.60.0"
__all__ = ["Config", "Server", "main", "run"]

# `import uvicorn; uvicorn.config.LOGGING_CONFIG` has always worked. Nothing of it is imported before it is used:
# the command's --help and the master need neither asyncio nor ssl, and serving does not need click.
_OBJECTS = {"Config": "uvicorn.config", "Server": "uvicorn.server", "main": "uvicorn.command"}
globals().pop("main", None)  # the module, which the import above has put here; the attribute is the command
_MODULES = frozenset(
    {
        "config",
        "importer",
        "lifespan",
        "logging",
        "loops",
        "middleware",
        "protocols",
        "server",
        "supervisors",
        "workers",
    }
)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _OBJECTS:
        found = globals()[name] = getattr(import_module(_OBJECTS[name]), name)
        return found
    if name in _MODULES:
        try:
            return import_module(f"uvicorn.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"uvicorn.{name}":
                raise
    raise AttributeError(f"module 'uvicorn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_OBJECTS, *_MODULES})
