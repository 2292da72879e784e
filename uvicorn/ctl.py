"""`uvicornctl`: what surrounds a server. Now: `init` writes the ready-made configurations of its managers.

The shipped files of `uvicorn.contrib` are valid as they are, with example values; what `init` writes is the same text
with these exchanged. Tests run what it writes.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

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
    domain: str = "example.org"


def fill(text: str, values: Values) -> str:
    """Return `text` of a shipped file with `values` in place of the examples."""
    shipped = Values()
    bracketed = f"[{values.host}]" if ":" in values.host else values.host
    marks = {
        f"{shipped.commands}/uvicorn": _word(f"{values.commands}/uvicorn"),
        f"{shipped.commands}/python": _word(f"{values.commands}/python"),
        shipped.directory: values.directory,
        shipped.app: values.app,
        f"Group={shipped.user}": f"Group={_group_of(values.user)}",
        shipped.user: values.user,
        f"{shipped.host}:": f"{bracketed}:",
        shipped.host: values.host,
        str(shipped.port): str(values.port),
        f"RuntimeDirectory={_below_run(shipped.run)}\n": f"RuntimeDirectory={_below_run(values.run)}\n",
        shipped.run: values.run.rstrip("/"),
        shipped.logs: values.logs,
        shipped.domain: values.domain,
        f"--workers {shipped.workers}": f"--workers {values.workers}",
        f"numprocs={shipped.workers}": f"numprocs={values.workers}",
        f"numprocesses = {shipped.workers}": f"numprocesses = {values.workers}",
    }
    if _is_in_a_home(values.directory, values.commands):
        marks["ProtectHome=yes\n"] = "ProtectHome=read-only\n"
    # In two steps, so that no value is taken for the example of another: first to characters that no file contains.
    for number, example in enumerate(marks):
        text = text.replace(example, chr(0xE000 + number))
    for number, value in enumerate(marks.values()):
        text = text.replace(chr(0xE000 + number), value)
    return text


def _word(path: str) -> str:
    """Return a path as one word of a command; systemd, supervisor and circus agree on these quotes."""
    return f'"{path}"' if " " in path else path


def _below_run(path: str) -> str:
    return path.removeprefix("/run/").rstrip("/")


def _group_of(user: str) -> str:
    """Return the name of a user's first group; of one that is not known here, the same name."""
    import grp

    try:
        return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    except KeyError:
        return user


def _is_in_a_home(*paths: str) -> bool:
    return any(path.startswith(_HOMES) for path in paths)


_HOMES = tuple(f"/{name}/" for name in ("home", "root", "run/user"))  # what ProtectHome= hides (systemd.exec(5))


@dataclass(frozen=True)
class Variant:
    files: tuple[str, ...]
    then: str
    """What to do next."""
    place: str = ""
    """Where its files belong, where that is not the manager's usual place; made if it is not there."""


@dataclass(frozen=True)
class Manager:
    place: str
    """Where its files belong."""
    variants: dict[str, Variant]
    """The first one is the default."""
    makes_place: bool = False
    """Whether the place is ours to make: where it is the manager's, its absence says that the manager is not there."""
    exclusive: frozenset[str] = frozenset()
    """Variants that use the same names; their manager reads all that is in its place, so only one may be there."""


_RELOAD = "systemctl daemon-reload && systemctl enable --now"
_RUN_DIRECTORY = "install -d -o USER RUN (at each boot: `d RUN 0755 USER` in /etc/tmpfiles.d/web.conf), then "
MANAGERS = {
    "supervisor": Manager(
        "/etc/supervisor/conf.d",
        {
            "master": Variant(("web.conf",), "supervisorctl update"),
            "processes": Variant(("processes.conf",), "supervisorctl update"),
            "unix": Variant(("unix.conf",), _RUN_DIRECTORY + "supervisorctl update"),
            "exits": Variant(("exits.conf",), "supervisorctl update"),
        },
        exclusive=frozenset({"master", "processes", "unix"}),
    ),
    "circus": Manager(
        "/etc/circus",
        {
            "master": Variant(("web.ini",), "circusd --daemon PLACE/web.ini"),
            "processes": Variant(("processes.ini",), "circusd --daemon PLACE/processes.ini"),
            "unix": Variant(("unix.ini",), _RUN_DIRECTORY + "circusd --daemon PLACE/unix.ini"),
        },
        makes_place=True,
    ),
    "systemd": Manager(
        "/etc/systemd/system",
        {
            "socket": Variant(("uvicorn.service", "uvicorn.socket"), f"{_RELOAD} uvicorn.socket uvicorn.service"),
            "template": Variant(
                ("uvicorn@.service", "uvicorn@.socket"), f"{_RELOAD} uvicorn@PORT.socket uvicorn@PORT.service"
            ),
            "uds": Variant(("uvicorn-uds.service",), f"{_RELOAD} uvicorn-uds"),
            "user": Variant(
                ("uvicorn-user.service",),
                "systemctl --user daemon-reload && systemctl --user enable --now uvicorn-user",
                "~/.config/systemd/user",
            ),
            "hardened": Variant(
                ("hardened.conf",),
                "systemctl --user daemon-reload && systemctl --user restart uvicorn-user",
                "~/.config/systemd/user/uvicorn-user.service.d",
            ),
            "notify-reload": Variant(
                ("notify-reload.conf",), "systemctl daemon-reload", "/etc/systemd/system/uvicorn.service.d"
            ),
        },
    ),
    "nginx": Manager(
        "/etc/nginx/conf.d",
        {
            "unix": Variant(("web.conf",), "nginx -t && nginx -s reload"),
            "tls": Variant(("tls.conf",), "nginx -t && nginx -s reload"),
        },
        exclusive=frozenset({"unix", "tls"}),
    ),
}


_NO_SERVER = ("exits", "hardened", "notify-reload")
"""Variants that are beside a server's configuration: they start none."""


def render(manager: str, variant: str, values: Values) -> dict[str, str]:
    """Return file name -> text."""
    folder = files("uvicorn.contrib") / manager
    return {name: fill((folder / name).read_text(), values) for name in MANAGERS[manager].variants[variant].files}


# -- what is wrong with values, and what may be --

_APP = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_SPECIAL = re.compile(r"[\"'\\%$;#{}\x00-\x1f\x7f]")


def mistakes(manager: str, variant: str, values: Values) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong with its value)."""
    if not _APP.fullmatch(values.app):
        yield "--app", f"{values.app!r} is not MODULE:ATTRIBUTE, such as shop.main:app"
    for option, path in (("--directory", values.directory), ("--run", values.run), ("--logs", values.logs)):
        if not path.startswith("/"):
            yield option, f"{path!r} is not an absolute path"
        elif found := _SPECIAL.search(path):
            yield option, f"{path!r} has a {found[0]!r}, which means something in these files"
    if " " in values.run:
        yield "--run", f"{values.run!r} has a space, which the path of a socket cannot have in these files"
    if variant == "uds" and not re.fullmatch(r"/run/[^/]+(/[^/]+)*/?", values.run):
        yield "--run", f"{values.run!r} is not below /run, where systemd makes the directory of this variant"
    if ":" in values.host and manager in ("supervisor", "circus"):
        yield "--host", f"{values.host!r}: the sockets of {manager} are IPv4; its variant unix needs no address"
    for option, text in (("--host", values.host), ("--user", values.user), ("--domain", values.domain)):
        if not text or " " in text or _SPECIAL.search(text):
            yield option, f"{text!r} is not one word"


def doubts(manager: str, variant: str, values: Values) -> Iterator[str]:
    """Yield what will probably not work on this machine, and what to do."""
    if variant == "notify-reload" and (found := _systemd_version()) is not None and found < NOTIFY_RELOAD_SINCE:
        yield (
            f"systemd {found} here does not know Type=notify-reload ({NOTIFY_RELOAD_SINCE} and later do),"
            " and could not reload with this file"
        )
    if variant == "tls" and os.geteuid() == 0:  # only root may look
        certificate = f"/etc/letsencrypt/live/{values.domain}/fullchain.pem"
        if not os.path.exists(certificate):
            yield f"there is no {certificate} yet, which nginx needs to start: see the file's first lines"
    if manager == "nginx" or variant in _NO_SERVER:
        return
    module = values.app.partition(":")[0].replace(".", "/")
    there = Path(values.directory, module)
    if not there.is_dir() and not there.with_suffix(".py").exists():
        yield f"there is no {module}.py in {values.directory}: --directory says where the application is"
    if variant == "user":
        return
    if manager == "systemd" and _is_in_a_home(values.directory, values.commands):
        yield "the application or its Python is in a home: the unit may read all homes (ProtectHome=read-only)"
    for path in (values.directory, os.path.realpath(f"{values.commands}/python")):
        if manager == "systemd" and path.startswith(("/tmp/", "/var/tmp/")):
            yield f"{path} cannot be seen by the unit, which has a /tmp of its own: put it elsewhere, say below /srv"
        elif closed := _closed_to(values.user, path):
            yield f"{values.user} cannot reach {path}: {closed} is closed to others"


NOTIFY_RELOAD_SINCE = 253


def _systemd_version() -> int | None:
    try:
        said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"systemd (\d+)", said)
    return int(found[1]) if found else None


def _closed_to(user: str, path: str) -> str | None:
    """Return the folder on the way to `path` that a user may not enter; None if there is none, or it is not known."""
    try:
        known = pwd.getpwnam(user)
        groups = set(os.getgrouplist(user, known.pw_gid))
        for folder in reversed(Path(path).parents):
            status = folder.stat()
            shift = 6 if status.st_uid == known.pw_uid else 3 if status.st_gid in groups else 0
            if known.pw_uid and not status.st_mode >> shift & 1:
                return str(folder)
    except (KeyError, OSError):
        pass
    return None


# -- the command --


@click.group(context_settings={"help_option_names": ["--help"]})
def main() -> None:
    """Prepare servers."""


def _variants() -> str:
    return "\n".join(f"      {name:<11} {', '.join(manager.variants)}" for name, manager in MANAGERS.items())


@main.command(
    help=f"""Write a configuration for supervisor, circus, systemd or nginx, and say what to do next.

    Each file says what it is for.

    \b
    Variants (the first one is the default):
{_variants()}""",
    epilog="Example: uvicornctl init systemd --app shop.main:app --directory /srv/shop --user shop --port 8000",
)
@click.argument("manager", type=click.Choice(list(MANAGERS)))
@click.option("--app", metavar="MODULE:ATTRIBUTE", help="The application; needed for whatever starts it.")
@click.option("--variant", help="Which of several configurations: see above.")
@click.option("--directory", default=os.getcwd, show_default="this one", help="Where the application's modules are.")
@click.option("--user", default=Values.user, show_default=True, help="Whom the server runs as.")
@click.option("--host", default=Values.host, show_default=True, help="Where it listens.")
@click.option("--port", default=Values.port, show_default=True, type=click.IntRange(1, 65535))
@click.option("--workers", default=Values.workers, show_default=True, type=click.IntRange(1))
@click.option("--run", default=Values.run, show_default=True, help="Directory of UNIX sockets.")
@click.option("--logs", default=Values.logs, show_default=True, help="Directory of supervisor's logs.")
@click.option("--domain", default=Values.domain, show_default=True, help="The name that browsers ask nginx for.")
@click.option("--to", metavar="DIRECTORY", help="Write there instead of into the manager's own place; - prints.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
def init(manager: str, app: str | None, variant: str | None, to: str | None, force: bool, **given: str) -> None:
    kind = MANAGERS[manager]
    variant = variant or next(iter(kind.variants))
    if variant not in kind.variants:
        raise click.BadParameter(f"{manager} has {', '.join(kind.variants)}, not {variant!r}", param_hint="--variant")
    if app is None and manager != "nginx" and variant not in _NO_SERVER:
        raise click.UsageError("Missing option '--app': the application, as MODULE:ATTRIBUTE, such as shop.main:app")
    commands = os.path.dirname(os.path.abspath(sys.executable))
    given["directory"] = os.path.abspath(given["directory"])
    values = Values(app=app or Values.app, commands=commands, **given)  # type: ignore[arg-type]
    for option, wrong in mistakes(manager, variant, values):
        raise click.BadParameter(wrong, param_hint=option)
    for doubt in doubts(manager, variant, values):
        click.echo(f"note: {doubt}", err=True)
    rendered = render(manager, variant, values)
    if to == "-":
        several = len(rendered) > 1
        click.echo(
            "\n".join(f"# == {name} ==\n{text}" if several else text for name, text in rendered.items()), nl=False
        )
        return
    needs_user = manager != "nginx" and variant not in ("user", *_NO_SERVER)
    if needs_user and not _exists(values.user):
        said = (
            f"there is no user {values.user!r} here; `useradd --system {values.user}` makes one, --user names another"
        )
        if to is None:
            raise click.ClickException(said)
        click.echo(f"note: {said}", err=True)
    place = _place(manager, variant, to)
    for path in _rivals(kind, variant, place):
        click.echo(f"note: {path} uses the same names: remove it, or what is written now", err=True)
    _write({os.path.join(place, name): text for name, text in rendered.items()}, force)
    chosen = kind.variants[variant].then
    for word, value in (("USER", values.user), ("RUN", values.run), ("PLACE", place), ("PORT", str(values.port))):
        chosen = chosen.replace(word, value)
    click.echo(f"next: {chosen}")


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _place(manager: str, variant: str, to: str | None) -> str:
    """Return the directory to write into, which is there."""
    kind = MANAGERS[manager]
    own = os.path.expanduser(kind.variants[variant].place)
    place = to or own or kind.place
    if to is None and (own or kind.makes_place):
        try:
            os.makedirs(place, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"cannot make {place}: {error.strerror}; --to names another") from None
    if not os.path.isdir(place):
        hint = "" if to else f" (is {manager} installed?)"
        raise click.ClickException(f"there is no directory {place}{hint}; --to names another, --to - only prints")
    return place


def _rivals(kind: Manager, variant: str, place: str) -> list[str]:
    """Return the files of other variants that are there and cannot be beside this one."""
    others = kind.exclusive - {variant} if variant in kind.exclusive else ()
    paths = [os.path.join(place, name) for other in sorted(others) for name in kind.variants[other].files]
    return [path for path in paths if os.path.exists(path)]


def _write(texts: dict[str, str], force: bool) -> None:
    texts = {path: text for path, text in texts.items() if _content(path) != text}
    if not force and (present := [path for path in texts if os.path.exists(path)]):
        raise click.ClickException(f"there is {present[0]} already; --force replaces it, --to - only prints")
    for path, text in texts.items():
        try:
            with open(path, "w") as file:
                file.write(text)
        except OSError as error:
            raise click.ClickException(f"cannot write {path}: {error.strerror}; --to names another directory") from None
        click.echo(f"wrote {path}")


def _content(path: str) -> str | None:
    """Return the text of a file; None where there is none that can be read."""
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError):
        return None


if __name__ == "__main__":
    main()
