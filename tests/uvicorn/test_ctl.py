"""`uvicornctl init` writes the shipped configurations with the user's values, and nothing over somebody's file."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from uvicorn.ctl import MANAGERS, Values, fill, main, render

EVERY = [(name, variant) for name, manager in MANAGERS.items() for variant in manager.variants]


@pytest.mark.parametrize(("manager", "variant"), EVERY)
def test_with_the_examples_as_values_a_file_is_the_shipped_one(manager: str, variant: str):
    for name, text in render(manager, variant, Values()).items():
        assert text == (Path(__file__).parents[2] / "contrib" / manager / name).read_text()


def test_every_shipped_file_belongs_to_a_variant():
    contrib = Path(__file__).parents[2] / "contrib"
    shipped = {f"{file.parent.name}/{file.name}" for file in contrib.glob("*/*") if file.suffix != ".pyc"}
    assert shipped == {
        f"{m}/{file}" for m, manager in MANAGERS.items() for v in manager.variants.values() for file in v
    }


@pytest.mark.parametrize(("manager", "variant"), EVERY)
def test_no_example_is_left(manager: str, variant: str):
    values = Values("shop.main:api", "/opt/shop", "/opt/venv/bin", "shop", "0.0.0.0", 9123, 7, "/run/shop", "/logs")
    for text in render(manager, variant, values).values():
        for example in ("app:app", "/srv/web", "www-data", "127.0.0.1", "8000", "/run/web", "/var/log/supervisor"):
            assert example not in text


def test_a_value_that_looks_like_another_example_stays():
    assert fill("command=/srv/web/.venv/bin/uvicorn app:app", Values(app="www-data:app", directory="/x")).endswith(
        "uvicorn www-data:app"
    )


def test_init_writes_the_files_and_says_what_comes_next(tmp_path: Path):
    arguments = ["init", "systemd", "--app", "shop:api", "--user", "shop", "--port", "81", "--to", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert f"wrote {tmp_path}/uvicorn.service" in result.output
    assert "next: systemctl daemon-reload" in result.output
    unit = (tmp_path / "uvicorn.service").read_text()
    assert f"WorkingDirectory={Path.cwd()}\n" in unit
    assert "User=shop\n" in unit
    assert "/uvicorn shop:api --workers 2\n" in unit
    assert "ListenStream=127.0.0.1:81\n" in (tmp_path / "uvicorn.socket").read_text()


def test_init_replaces_nothing_unasked(tmp_path: Path):
    (tmp_path / "web.conf").write_text("mine")
    arguments = ["init", "nginx", "--app", "a:b", "--to", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, (tmp_path / "web.conf").read_text()) == (1, "mine")
    assert f"there is {tmp_path}/web.conf already" in result.output
    assert CliRunner().invoke(main, [*arguments, "--force"]).exit_code == 0
    assert (tmp_path / "web.conf").read_text() != "mine"


def test_init_prints_and_names_its_variants():
    printed = CliRunner().invoke(main, ["init", "supervisor", "--app", "a:b", "--variant", "processes", "--to", "-"])
    assert "[fcgi-program:web]" in printed.output
    refused = CliRunner().invoke(main, ["init", "circus", "--app", "a:b", "--variant", "nope"])
    assert refused.exit_code == 2
    assert "circus has master, processes, unix, not 'nope'" in refused.output


def test_a_directory_that_cannot_be_written_is_one_line():
    result = CliRunner().invoke(main, ["init", "nginx", "--app", "a:b", "--to", "/nonexistent"])
    assert result.exit_code == 1
    assert (
        "cannot write /nonexistent/web.conf: No such file or directory; --to names another directory" in result.output
    )
