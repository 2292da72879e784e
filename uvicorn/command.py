"""From the settings to click: parameters with their checks, and a help that is grouped by topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from uvicorn.kinds import Kind
from uvicorn.settings import SETTINGS, Setting


class KindType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.5
    """A setting's kind as a click type: bad values are usage errors that say what was expected."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.name = kind.metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.kind.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        if self.kind.metavar == "PATH":
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(name) for name in self.kind.choices if name.startswith(incomplete)]


def options(print_version: Callable[[click.Context, click.Parameter, bool], None]) -> list[click.Parameter]:
    """Return the command's parameters, in the order of the settings.

    Their environment variables are not click's business: uvicorn.settings reads them, so that an error names the
    variable, and a file can stand between them and the defaults.
    """
    found: list[click.Parameter] = []
    for one in SETTINGS.values():
        if one.name == "app":
            found.append(click.Argument(["app"], metavar="APP", required=False))
        else:
            found.append(_option(one))
    found.append(
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=print_version,
            help="Show the versions of uvicorn and Python, and exit.",
        )
    )
    return found


def _option(one: Setting) -> click.Option:
    names = [one.name, *([one.short] if one.short else [])]
    if one.flag:
        names.append(one.long_option + (f"/--no-{one.long_option[2:]}" if one.flag == "both" else ""))
        return click.Option(names, is_flag=True, default=one.default, help=one.help)
    names.append(one.long_option)
    return click.Option(
        names, type=KindType(one.kind), default=one.default, multiple=one.many, metavar=one.kind.metavar, help=one.help
    )


def notes(one: Setting) -> str:
    """Return "[default: 8000; UVICORN_PORT]": the default, if there is one to tell, and the variables."""
    default = default_text(one)
    parts = [*([f"default: {default}"] if default else []), *one.variables]
    return f"[{'; '.join(parts)}]" if parts else ""


def default_text(one: Setting) -> str:
    """Return the default as it would be typed; "" where it is nothing, or off for a switch that only turns on."""
    if one.default in (None, "", ()) or one.default is False:
        return ""
    if one.default is True:
        return "on" if one.flag else "true"
    return f"{one.default:g}" if isinstance(one.default, float) else str(one.default)


class Command(click.Command):
    """Its help stands under topics, each option with its default and variable."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", "APP"]  # needed, but the file or UVICORN_APP may name it too

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        topics: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:  # APP
                continue
            one = SETTINGS.get(param.name or "")
            text = f"{record[1]}  {notes(one)}" if one else record[1]
            topics.setdefault(one.topic if one else "Settings", []).append((record[0], text))
        for topic, rows in topics.items():
            with formatter.section(topic):
                formatter.write_dl(rows, col_max=26)
