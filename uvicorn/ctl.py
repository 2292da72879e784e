"""`uvicornctl`: what surrounds a server. Now: `init` writes the ready-made configurations of its managers.

The shipped files of `uvicorn.contrib` are valid as they are, with example values; what `init` writes is the same text
with these exchanged. Tests run what it writes.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.resources import files

import click


@dataclass(frozen=True)
class Values:
    """What is filled in; each default is what the shipped files say."""

    app: str = "app:app"
    directory: str = "/srv/web"
    commands: str = "/srv/web/.venv/bin"
    """Where `uvicorn` and `python` are."""
    user: str = "www-data"
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 2
    run: str = "/run/web"
    """Directory of sockets."""
    logs: str = "/var/log/supervisor"


def fill(text: str, values: Values) -> str:
    """Return `text` of a shipped file with `values` in place of the examples."""
    shipped = Values()
    marks = {
        shipped.commands: values.commands,
        shipped.directory: values.directory,
        shipped.app: values.app,
        shipped.user: values.user,
        shipped.host: values.host,
        str(shipped.port): str(values.port),
        shipped.run: values.run,
        shipped.logs: values.logs,
        f"--workers {shipped.workers}": f"--workers {values.workers}",
        f"numprocs={shipped.workers}": f"numprocs={values.workers}",
        f"numprocesses = {shipped.workers}": f"numprocesses = {values.workers}",
    }
    # In two steps, so that no value is taken for the example of another: first to characters that no file contains.
    for number, example in enumerate(marks):
        text = text.replace(example, chr(0xE000 + number))
    for number, value in enumerate(marks.values()):
        text = text.replace(chr(0xE000 + number), value)
    return text


@dataclass(frozen=True)
class Manager:
    place: str
    """Where its files belong."""
    variants: dict[str, tuple[str, ...]]
    """Name of a variant -> files, the first one is the default."""
    then: str
    """What to do next."""


MANAGERS = {
    "supervisor": Manager(
        "/etc/supervisor/conf.d",
        {"master": ("web.conf",), "processes": ("processes.conf",), "unix": ("unix.conf",), "exits": ("exits.conf",)},
        "supervisorctl update",
    ),
    "circus": Manager(
        "/etc/circus",
        {"master": ("web.ini",), "processes": ("processes.ini",), "unix": ("unix.ini",)},
        "circusd FILE",
    ),
    "systemd": Manager(
        "/etc/systemd/system",
        {
            "socket": ("uvicorn.service", "uvicorn.socket"),
            "template": ("uvicorn@.service", "uvicorn@.socket"),
            "uds": ("uvicorn-uds.service",),
            "user": ("uvicorn-user.service",),
            "notify-reload": ("notify-reload.conf",),
        },
        "systemctl daemon-reload, then systemctl enable --now with the units",
    ),
    "nginx": Manager("/etc/nginx/conf.d", {"unix": ("web.conf",)}, "nginx -t && nginx -s reload"),
}


def render(manager: str, variant: str, values: Values) -> dict[str, str]:
    """Return file name -> text."""
    folder = files("uvicorn.contrib") / manager
    return {name: fill((folder / name).read_text(), values) for name in MANAGERS[manager].variants[variant]}


@click.group(context_settings={"help_option_names": ["--help"]})
def main() -> None:
    """Prepare servers."""


@main.command()
@click.argument("manager", type=click.Choice(list(MANAGERS)))
@click.option("--app", required=True, metavar="MODULE:ATTRIBUTE", help="The application.")
@click.option("--variant", help="Which of several configurations; the first one is the default: see below.")
@click.option("--directory", default=os.getcwd, show_default="this one", help="Where the application's modules are.")
@click.option("--user", default=Values.user, show_default=True, help="Whom the server runs as.")
@click.option("--host", default=Values.host, show_default=True, help="Where it listens.")
@click.option("--port", default=Values.port, show_default=True, type=click.IntRange(1, 65535))
@click.option("--workers", default=Values.workers, show_default=True, type=click.IntRange(1))
@click.option("--run", default=Values.run, show_default=True, help="Directory of UNIX sockets.")
@click.option("--logs", default=Values.logs, show_default=True, help="Directory of supervisor's logs.")
@click.option("--to", help="Write into this directory instead of the manager's own; - prints.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
def init(manager: str, variant: str | None, to: str | None, force: bool, **given: object) -> None:
    """Write a configuration for supervisor, circus, systemd or nginx.

    Variants: supervisor has master, processes, unix, exits; circus master, processes, unix; systemd socket, template,
    uds, user, notify-reload; nginx unix. Each file says what it is for.
    """
    kind = MANAGERS[manager]
    variant = variant or next(iter(kind.variants))
    if variant not in kind.variants:
        raise click.BadParameter(f"{manager} has {', '.join(kind.variants)}, not {variant!r}", param_hint="--variant")
    values = Values(commands=os.path.dirname(sys.executable), **given)  # type: ignore[arg-type]
    rendered = render(manager, variant, values)
    if to == "-":
        click.echo("\n".join(rendered.values()), nl=False)
        return
    place = to or kind.place
    paths = {os.path.join(place, name): text for name, text in rendered.items()}
    if not force and (present := [path for path in paths if os.path.exists(path)]):
        raise click.ClickException(f"there is {present[0]} already; --force replaces it, --to - only prints")
    for path, text in paths.items():
        try:
            with open(path, "w") as file:
                file.write(text)
        except OSError as error:
            raise click.ClickException(f"cannot write {path}: {error.strerror}; --to names another directory") from None
        click.echo(f"wrote {path}")
    click.echo(f"next: {kind.then}")


if __name__ == "__main__":
    main()
