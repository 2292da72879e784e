"""The command, as click's: parameters made from the settings, their checks, and a help that is grouped by topic."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from uvicorn.errors import USAGE, SettingError, UsersError
from uvicorn.kinds import Kind
from uvicorn.main import serve, version
from uvicorn.settings import INTERFACES, LIFESPANS, LOG_LEVELS, SETTINGS, Setting, not_available

LEVEL_CHOICES = click.Choice(list(LOG_LEVELS))
LIFESPAN_CHOICES = click.Choice(list(LIFESPANS))
INTERFACE_CHOICES = click.Choice(list(INTERFACES))


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
        names.append("/".join(filter(None, (one.long_option, one.off_option))))
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


def print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    click.echo(version())
    ctx.exit()


@click.command(cls=Command, params=options(print_version), context_settings={"help_option_names": ["--help"]})
def main(**given: Any) -> None:
    """Serve the application APP, named as module:attribute.

    Every setting may come from the command line, from the environment or from a file (uvicorn.toml, or [tool.uvicorn]
    in pyproject.toml if no APP is named), in this order.
    """
    from uvicorn.sources import resolve

    context = click.get_current_context(silent=True)
    try:
        resolved = resolve(_said(given, context))
    except UsersError as error:
        raise _refusal(str(error), error.exit_code) from None
    settings = resolved.settings
    if settings.app is None:
        raise click.MissingParameter(ctx=context, param=_app_parameter())
    if missing := not_available(settings):
        raise _refusal(missing, USAGE)
    if settings.check:
        from uvicorn.check import check

        if settings.app_dir is not None:
            sys.path.insert(0, settings.app_dir)
        sys.exit(check(resolved))
    serve(resolved)


def _said(values: Mapping[str, Any], context: click.Context | None) -> dict[str, Any]:
    """Return the settings that the command line names. A default among `values` must not hide environment and file."""
    said = {}
    for name, value in values.items():
        source = context.get_parameter_source(name) if context is not None and context.command is main else None
        if source is None:  # called by a program: main.callback(...) or ctx.invoke(main, ...)
            one = SETTINGS[name]
            if value in (None, [], ()) or value == one.default:
                continue
            try:
                value = one.parse(value)
            except ValueError as error:
                raise SettingError(f"{name}: {error}") from None
        if source is not click.core.ParameterSource.DEFAULT:
            said[name] = value
    return said


def _app_parameter() -> click.Parameter:
    return next(one for one in main.params if one.name == "app")


def _refusal(message: str, exit_code: int) -> click.ClickException:
    """Return what makes click print the one line on stderr and exit with this code."""
    refusal = click.ClickException(message)
    refusal.exit_code = exit_code  # type: ignore[misc]  # click looks it up on the instance
    return refusal
