"""Write docs/settings.md from the declarations in uvicorn/settings.py; with --check, fail if it is not up to date.

python docs/make_settings.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from uvicorn.command import default_text
from uvicorn.settings import SETTINGS, Setting

PAGE = Path(__file__).with_name("settings.md")

HEAD = """\
<!-- Written by docs/make_settings.py from uvicorn/settings.py: change it there. -->
# Settings

Every setting can be given in four places. The first one that names it wins:

1. the **command line**: `uvicorn app:app --port 9000`
2. the **environment**: `UVICORN_PORT=9000` (an empty variable says nothing; one that is nearly the name of a setting is
   a warning)
3. a **file**: `port = 9000` in `uvicorn.toml`
4. its **default**

`uvicorn --check app:app` shows the value of each setting and where it came from, loads the application, tries to bind
and runs the lifespan; it exits with 0 if a start would succeed, else with 3.

From Python the same names are arguments of `uvicorn.run()` and attributes of `uvicorn.Config`. There neither the
`UVICORN_*` variables nor a file are read; `WEB_CONCURRENCY` and `FORWARDED_ALLOW_IPS` are. A text is what it says
(`port="8000"`), numbers may be numpy's, paths may be `Path` objects, and any other type is refused by `Config`
(`SettingError`, a `ValueError`; `run()` exits with 2).

## The file

`uvicorn.toml` in the working directory is read if it exists. Otherwise the table `[tool.uvicorn]` of a `pyproject.toml`
in the working directory is read, but only if neither the command line nor `UVICORN_APP` names the application: a
command line that names one means the same in every project. `--config FILE` (or `UVICORN_CONFIG`) names a file, and
then only that one is read; of a file called `pyproject.toml` it is the table.

```toml
app = "shop.web:app"
bind = ["127.0.0.1:8000", "unix:/run/shop.sock"]
workers = "auto"
headers = ["X-Served-By: shop"]
timeout_graceful_shutdown = 30
```

Keys are the names below, with `_` or `-`, or spelled as the option is. An unknown key is an error that suggests the
nearest one. Paths are relative to the working directory, wherever the file is.

## Values

A value that a setting does not take is one line that names where it stood, the value and what was expected; the command
exits with 2. Durations are seconds. In the environment, several values are separated by blanks (`UVICORN_BIND`,
`UVICORN_HEADERS`), paths by colons (`UVICORN_RELOAD_DIRS`). Switches take `true`, `false`, `1`, `0`, `yes`, `no`, `on`,
`off` there.

`--bind` excludes `--host`, `--port`, `--uds` and `--fd` of the same place; given in a stronger place it replaces them,
and they replace it.
"""


def page() -> str:
    topics: dict[str, list[Setting]] = {}
    for one in SETTINGS.values():
        topics.setdefault(one.topic, []).append(one)
    parts = [HEAD]
    for topic, settings in topics.items():
        parts.append(f"\n## {topic}\n\n| Option | Variable | File | Default | |\n| --- | --- | --- | --- | --- |\n")
        parts += [_row(one) for one in settings]
    return "".join(parts)


def _row(one: Setting) -> str:
    option = "`APP`" if one.name == "app" else " / ".join(f"`{name}`" for name in _options(one))
    variables = ", ".join(f"`{variable}`" for variable in one.variables)
    default = f"`{default_text(one)}`" if default_text(one) else ""
    key = f"`{one.name}`" if one.in_file else ""
    values = f" One of {', '.join(f'`{name}`' for name in one.kind.choices)}." if one.kind.choices else ""
    return f"| {option} | {variables} | {key} | {default} | {one.help}{values} |\n"


def _options(one: Setting) -> list[str]:
    long = one.long_option
    return [*([one.short] if one.short else []), long, *([f"--no-{long[2:]}"] if one.flag == "both" else [])]


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if not PAGE.exists() or PAGE.read_text() != page():
            sys.exit("docs/settings.md is not what docs/make_settings.py writes: run it")
    else:
        PAGE.write_text(page())
