"""The command line as it is read without click means what click takes it for, or is left to click."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

import uvicorn
from uvicorn import words
from uvicorn.settings import SETTINGS

OPTIONS = sorted({option for one in SETTINGS.values() for option in (one.long_option, one.short) if option})
FLAGS = [one for one in SETTINGS.values() if one.flag]
TEXTS = ["a:b", "8000", "0", "-1", "", "x=y", "auto", "info", "X: y", "1.5", "660", "80%", "h11", "on", "[::1]:80"]

plain_words = st.sampled_from(
    [
        *OPTIONS,
        *(f"--no-{one.long_option[2:]}" for one in SETTINGS.values()),
        *(f"{option}={text}" for option in OPTIONS[:20] for text in TEXTS),
        *TEXTS,
        "--",
        "-",
        "--help",
        "--version",
        "-cfile",
        "--por",
    ]
)


def as_click_reads(line: list[str]) -> dict[str, object]:
    """Return what click takes from this line; raises click's UsageError, or Exit for --help and --version."""
    with uvicorn.main.make_context("uvicorn", list(line)) as context:
        return {
            name: value
            for name, value in context.params.items()
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        }


def agree(line: list[str]) -> None:
    said = words.read(line)
    if said is not None:
        assert said == as_click_reads(line)


@given(st.lists(plain_words, max_size=6))
def test_what_is_read_is_what_click_reads(line: list[str]):
    agree(line)


@given(st.lists(st.one_of(plain_words, st.text(max_size=8)), max_size=5))
def test_so_it_is_with_words_of_any_kind(line: list[str]):
    agree(line)


GOOD = {"INTEGER": "1", "BOOLEAN": "on", "SECONDS": "1.5", "NUMBER|auto": "auto", "MODE": "660", "MIB|PERCENT": "80%"}


@pytest.mark.parametrize("one", [one for one in SETTINGS.values() if one.name != "app"], ids=lambda one: one.name)
def test_each_option_is_read_without_click(one):
    kind = one.kind
    text = kind.choices[0] if kind.choices else GOOD.get(kind.metavar, "x-forwarded-for")
    text = {"ADDRESS": "[::1]:80", "NAME:VALUE": "X: y"}.get(kind.metavar, text)
    lines = [[one.long_option]] if one.flag else [[one.long_option, text], [f"{one.long_option}={text}"]]
    lines += [[f"--no-{one.long_option[2:]}"]] if one.flag == "both" else []
    lines += [[one.short, text]] if one.short else []
    for line in [*lines, lines[0] * 2, ["a:b", *lines[0]], [*lines[0], "a:b"]]:
        said = words.read(line)
        assert said is not None, line
        assert said == as_click_reads(line)


@pytest.mark.parametrize(
    "line",
    [
        ["a:b", "--prot", "1"],
        ["a:b", "c:d"],
        ["a:b", "--port"],
        ["a:b", "--port", "x"],
        ["a:b", "--port="],
        ["a:b", "--host", "--port", "1"],
        ["a:b", "--reload=yes"],
        ["a:b", "--help"],
        ["-c=file"],
        ["--", "a:b"],
        [""],
    ],
    ids=" ".join,
)
def test_what_is_to_be_refused_or_explained_is_left_to_click(line: list[str]):
    assert words.read(line) is None


# -- as a process -----------------------------------------------------------------------------------------------------


def command(tmp_path: Path, *line: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "uvicorn", *line],
        cwd=tmp_path,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_version_needs_no_click_and_says_the_same(tmp_path):
    (tmp_path / "click.py").write_text("raise ImportError('not needed')")
    without = command(tmp_path, "--version")
    assert without.returncode == 0, without.stderr
    # With another word beside it, it is click's to print.
    assert command(tmp_path.parent, "a:b", "--version").stdout == without.stdout


def test_a_server_of_several_workers_needs_no_click(tmp_path):
    (tmp_path / "app.py").write_text(
        "import os, sys\n"
        "async def app(scope, receive, send): pass\n"
        "print('click' in sys.modules, flush=True)\n"
        "os._exit(3)\n"
    )
    ran = command(tmp_path, "app:app", "--workers", "2", "--port", "0")
    assert ran.returncode == 3
    assert set(ran.stdout.split()) == {"False"}


@pytest.mark.parametrize(
    ("line", "env", "expected"),
    [
        ([], {}, "Missing argument 'APP'"),
        (["a:b", "--port", "x"], {}, "Invalid value for '--port'"),
        (["a:b"], {"UVICORN_PORT": "x"}, "Error: UVICORN_PORT: expected an integer"),
        (["a:b", "--http2"], {}, "Error: http2: HTTP/2 is not available"),
        (["a:b", "-c", "nowhere.toml"], {}, "Error: --config: there is no file 'nowhere.toml'"),
    ],
)
def test_click_tells_what_is_wrong(tmp_path, line: list[str], env: dict[str, str], expected: str):
    ran = command(tmp_path, *line, **env)
    assert ran.returncode == 2
    assert expected in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_shell_that_completes_asks_click(tmp_path):
    script = "import sys; sys.argv = ['uvicorn']; from uvicorn.__main__ import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "_UVICORN_COMPLETE": "bash_complete", "COMP_WORDS": "uvicorn --por", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "plain,--port" in ran.stdout.split(), ran.stderr
