"""Where settings come from in the real world: this process's environment, uvicorn.toml, the env file.

The rules are in uvicorn.settings; here is only the reading. The command calls `resolve` once; a master that re-reads
its settings calls `resolve` again with what it was started with.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from uvicorn.errors import ConfigError, SettingError
from uvicorn.kinds import EXISTING_PATH
from uvicorn.precedence import from_command_line, from_environment, from_file, merge
from uvicorn.settings import SETTINGS, Provenance, Settings

OWN_FILE = "uvicorn.toml"
PROJECT_FILE = "pyproject.toml"


class Resolved(NamedTuple):
    settings: Settings
    provenance: Provenance  # only settings that were given
    file: str | None  # the config file that was read


def resolve(command_line: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Resolved:
    """Return the settings of this process. Raises SettingError, and ConfigError for an env file without dotenv."""
    environ = os.environ if environ is None else environ
    given = from_command_line(command_line)
    environment = from_environment(environ)
    file_name = given[0].get("config") or environment[0].get("config")
    if file_name is None:
        file_name = find_file(named_app="app" in given[0] or "app" in environment[0])
    elif not os.path.exists(file_name):
        origin = {**environment[1], **given[1]}["config"]
        raise SettingError(f"{origin}: there is no file {file_name!r}")
    file = read_file(file_name) if file_name else ({}, {})
    settings, provenance = merge(given, environment, file)
    if settings.env_file is not None:
        _must_exist(settings, provenance)
        # The env file is environment for the two variables that upstream reads after loading it, and for APP.
        # It never sets UVICORN_*, and never overrides a variable that is set: both as in upstream.
        later = {name: text for name, text in read_env_file(settings.env_file).items() if name in _LATE_VARIABLES}
        environment = from_environment({**later, **environ})
        settings, provenance = merge(given, environment, file)
    _must_exist(settings, provenance)
    if settings.workers == "auto":  # type: ignore[comparison-overlap]
        from uvicorn.cpus import available

        settings = settings.replace(workers=available())
        provenance["workers"] += " (auto)"
    return Resolved(settings, provenance, file_name)


_LATE_VARIABLES = frozenset(variable for one in SETTINGS.values() for variable in one.env)


def resolve_again(settings: Settings, provenance: Provenance) -> Resolved:
    """Read environment, file and env file anew, with the command line that `settings` were once resolved from."""
    command_line = {
        name: getattr(settings, name) for name, origin in provenance.items() if origin.startswith(("-", "APP"))
    }
    if provenance.get("workers", "").endswith("(auto)") and "workers" in command_line:
        command_line["workers"] = "auto"
    return resolve(command_line)


def find_file(*, named_app: bool) -> str | None:
    """Return the config file that is read unasked: uvicorn.toml, else pyproject.toml if no APP was named.

    [tool.uvicorn] is left alone when the command line (or UVICORN_APP) names the application: such a line must mean
    what it always meant, whatever project it is typed in.
    """
    if os.path.isfile(OWN_FILE):
        return OWN_FILE
    if not named_app and os.path.isfile(PROJECT_FILE):
        return PROJECT_FILE
    return None


def read_file(name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return values and provenance of a TOML file: its top level, or [tool.uvicorn] of a pyproject.toml."""
    import tomllib

    try:
        with open(name, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise SettingError(f"cannot read {name}: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise SettingError(f"cannot read {name}: {error}") from None
    if os.path.basename(name) == PROJECT_FILE:
        table = table.get("tool", {}).get("uvicorn", {})
        return from_file(table, f"[tool.uvicorn] of {name}")
    return from_file(table, name)


def read_env_file(name: str) -> dict[str, str]:
    """Return the variables of an env file, without setting them. Raises UsersError."""
    try:
        from dotenv import dotenv_values
    except ImportError:
        raise ConfigError(
            "--env-file needs the package python-dotenv: pip install python-dotenv (or uvicorn[standard])"
        ) from None
    try:
        return {key: value for key, value in dotenv_values(name).items() if value is not None}
    except OSError as error:
        raise SettingError(f"cannot read {name}: {error.strerror}") from None
    except ValueError as error:  # not UTF-8
        raise SettingError(f"cannot read {name}: {error}") from None


def _must_exist(settings: Settings, provenance: Provenance) -> None:
    for name, origin in provenance.items():
        if SETTINGS[name].kind is EXISTING_PATH:
            value = getattr(settings, name)
            for path in value if SETTINGS[name].many else (value,):
                if not os.path.exists(path):
                    raise SettingError(f"{origin}: there is no file or directory {path!r}")
