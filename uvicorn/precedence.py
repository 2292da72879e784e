"""Command line beats environment beats file beats default; and for each setting, which of them it was.

Pure: text and tables in, values and provenance out. uvicorn.sources reads the real environment and files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from uvicorn.errors import SettingError
from uvicorn.settings import PREFIX, SETTINGS, Setting, Settings


def from_command_line(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return values and provenance of what stood on the command line (already parsed, by setting name)."""
    return dict(given), {name: "APP" if name == "app" else SETTINGS[name].long_option for name in given}


def from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return values and provenance of what the environment says. An empty variable says nothing."""
    values: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    for one in SETTINGS.values():
        for variable in one.variables:
            if text := environ.get(variable):
                try:
                    values[one.name] = one.parse_variable(text)
                except ValueError as error:
                    raise SettingError(f"{variable}: {error}") from None
                provenance[one.name] = variable
                break
    return values, provenance


_NO_SETTINGS = {"UVICORN_WORKER", "UVICORN_VERSION"}
"""What a worker's children inherit, its number; and what an image may say of itself."""


def slips(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that is probably misspelt, with the one that was meant.

    Others that begin with UVICORN_ are left alone: start scripts and images have some of their own.
    """
    variables = {variable for one in SETTINGS.values() for variable in one.variables}
    known = {variable.removeprefix(PREFIX): variable for variable in sorted(variables)}  # the prefixed ones come last
    strange = {name for name, text in environ.items() if text and name.startswith(PREFIX)} - variables
    nearest = {name: _nearest(name.removeprefix(PREFIX), known, cutoff=0.75) for name in strange}
    return [
        f"{name}: there is no such setting; did you mean {known[meant]}?"
        for name, meant in sorted(nearest.items())
        if meant is not None and name not in _NO_SETTINGS
    ]


def from_file(table: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return values and provenance of a file's table. Keys are settings, with _ or -, or spelled as the option is."""
    values: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    known = {name: one for name, one in SETTINGS.items() if one.in_file}
    known |= {one.option.replace("-", "_"): one for one in known.values() if one.option}
    for key, value in table.items():
        found = known.get(key.replace("-", "_"))
        if found is None:
            raise SettingError(f"{key} in {where}: there is no such setting{_did_you_mean(key, known)}")
        if found.name in values:
            raise SettingError(f"{key} in {where}: given twice, also as {provenance[found.name].split()[0]}")
        try:
            values[found.name] = found.parse(value)
        except ValueError as error:
            raise SettingError(f"{key} in {where}: {error}") from None
        provenance[found.name] = f"{key} in {where}"
    return values, provenance


def _did_you_mean(key: str, known: Mapping[str, Setting]) -> str:
    meant = _nearest(key.replace("-", "_"), known)
    return f"; did you mean {meant}?" if meant else ""


def _nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, known, n=1, cutoff=cutoff)), None)


def merge(
    command_line: tuple[dict[str, Any], dict[str, str]],
    environment: tuple[dict[str, Any], dict[str, str]],
    file: tuple[dict[str, Any], dict[str, str]],
) -> tuple[Settings, dict[str, str]]:
    """Command line beats environment beats file beats default. Raises SettingError if two of them contradict."""
    values = {**file[0], **environment[0], **command_line[0]}
    provenance = {**file[1], **environment[1], **command_line[1]}
    for source_values, source_provenance in (command_line, environment, file):
        # --bind replaces the single-socket settings of a weaker source, but beside one of its own source
        # somebody expects both: say so instead of dropping one.
        for rival in ("uds", "fd", "port", "host"):
            if source_values.get("bind") and rival in source_values:
                raise SettingError(
                    f"{source_provenance['bind']} and {source_provenance[rival]} exclude each other;"
                    f" say everything with {source_provenance['bind']}"
                )
        if "bind" in source_values:
            break
        if any(rival in source_values for rival in ("uds", "fd", "port", "host")) and "bind" in values:
            # the stronger source names one socket: it means that one, not the weaker source's list
            del values["bind"], provenance["bind"]
            break
    return Settings(**values), provenance
