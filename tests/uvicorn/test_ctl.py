"""`uvicornctl init` writes the shipped configurations with the user's values, and nothing over somebody's file."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from uvicorn import ctl
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
        f"{m}/{file}" for m, manager in MANAGERS.items() for v in manager.variants.values() for file in v.files
    }


@pytest.mark.parametrize(("manager", "variant"), EVERY)
def test_no_example_is_left(manager: str, variant: str):
    values = Values(
        "shop.main:api", "/opt/shop", "/opt/venv/bin", "shop", "0.0.0.0", 9123, 7, "/run/shop", "/logs", "shop.test"
    )
    for text in render(manager, variant, values).values():
        for example in (
            "app:app",
            "/srv/web",
            "www-data",
            "127.0.0.1",
            "8000",
            "/run/web",
            "/var/log/supervisor",
            "example.org",
        ):
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


def test_what_is_there_already_and_the_same_is_no_conflict(tmp_path: Path):
    arguments = ["circus", "--app", "a:b", "--to", str(tmp_path)]
    assert run(*arguments).exit_code == 0
    assert run(*arguments).exit_code == 0


@pytest.mark.parametrize(
    ("manager", "first", "second", "file"),
    [("nginx", "unix", "tls", "web.conf"), ("supervisor", "processes", "master", "processes.conf")],
)
def test_variants_of_which_the_manager_takes_only_one_are_noted(
    tmp_path: Path, manager: str, first: str, second: str, file: str
):
    arguments = [manager, "--app", "a:b", "--to", str(tmp_path), "--variant"]
    assert "uses the same names" not in run(*arguments, first).output
    assert f"note: {tmp_path}/{file} uses the same names: remove it" in run(*arguments, second).output


def test_a_listener_may_be_beside_any_of_supervisors_variants(tmp_path: Path):
    arguments = ["supervisor", "--app", "a:b", "--to", str(tmp_path), "--variant"]
    assert "uses the same names" not in run(*arguments, "master").output + run(*arguments, "exits").output


def test_init_prints_and_names_its_variants():
    printed = CliRunner().invoke(main, ["init", "supervisor", "--app", "a:b", "--variant", "processes", "--to", "-"])
    assert "[fcgi-program:web]" in printed.output
    refused = CliRunner().invoke(main, ["init", "circus", "--app", "a:b", "--variant", "nope"])
    assert refused.exit_code == 2
    assert "circus has master, processes, unix, not 'nope'" in refused.output


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["init", *arguments])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--app", "a:b"], "Invalid value for"),
        (["systemd"], "Missing option '--app': the application, as MODULE:ATTRIBUTE, such as shop.main:app"),
        (["systemd", "--app", "shop"], "'shop' is not MODULE:ATTRIBUTE, such as shop.main:app"),
        (["systemd", "--app", "a:b", "--port", "99999"], "99999 is not in the range 1<=x<=65535"),
        (["systemd", "--app", "a:b", "--workers", "0"], "0 is not in the range x>=1"),
        (["systemd", "--app", "a:b", "--directory", "/srv/100%"], "'/srv/100%' has a '%', which means something"),
        (["systemd", "--app", "a:b", "--run", "run"], "'run' is not an absolute path"),
        (["systemd", "--app", "a:b", "--variant", "uds", "--run", "/srv/x"], "'/srv/x' is not below /run"),
        (["nginx", "--run", "/run/my web"], "'/run/my web' has a space"),
        (["supervisor", "--app", "a:b", "--host", "::1"], "the sockets of supervisor are IPv4"),
        (["circus", "--app", "a:b", "--user", "a b"], "'a b' is not one word"),
        (["circus", "--app", "a:b", "--variant", "nope"], "circus has master, processes, unix, not 'nope'"),
    ],
)
def test_a_wrong_argument_is_named(arguments: list[str], said: str):
    result = run(*arguments, "--to", "-")
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_every_variant_is_in_the_help():
    said = run("--help").output
    for manager in MANAGERS.values():
        for variant in manager.variants:
            assert variant in said


def test_a_user_who_is_missing_is_an_error_on_the_machine_itself_and_a_note_for_another(tmp_path: Path):
    arguments = ["supervisor", "--app", "a:b", "--user", "nobody-of-this-name"]
    here = run(*arguments)
    assert here.exit_code == 1
    assert (
        "there is no user 'nobody-of-this-name' here; `useradd --system nobody-of-this-name` makes one" in here.output
    )
    assert run(*arguments, "--to", str(tmp_path)).exit_code == 0
    assert "user=nobody-of-this-name" in (tmp_path / "web.conf").read_text()


def test_a_reload_that_this_systemd_does_not_know_is_noted(monkeypatch: pytest.MonkeyPatch):
    for version, noted in ((252, True), (253, False), (None, False)):
        monkeypatch.setattr(ctl, "_systemd_version", lambda version=version: version)
        result = run("systemd", "--variant", "notify-reload", "--to", "-")
        assert result.exit_code == 0
        assert ("systemd 252 here does not know Type=notify-reload" in result.output) == noted


def test_what_will_not_work_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "main.py").touch()
    arguments = ["systemd", "--to", "-", "--directory", str(tmp_path)]
    assert "there is no nowhere.py in" in run(*arguments, "--app", "nowhere:app").output
    assert "there is no" not in run(*arguments, "--app", "shop.main:app").output
    assert (
        "which has a /tmp of its own" in run("systemd", "--to", "-", "--directory", "/tmp/here", "--app", "a:b").output
    )
    said = run("systemd", "--to", "-", "--directory", "/home/me/shop", "--app", "a:b").output
    assert "note: the application or its Python is in a home" in said
    assert "\nProtectHome=read-only\n" in said


def test_names_with_spaces_are_one_word_of_a_command():
    values = Values(directory="/srv/my shop", commands="/srv/my shop/.venv/bin")
    (text,) = render("supervisor", "master", values).values()
    assert 'command="/srv/my shop/.venv/bin/uvicorn" app:app' in text
    assert "directory=/srv/my shop\n" in text


def test_an_ipv6_address_has_brackets_before_a_port():
    _, socket = render("systemd", "socket", Values(host="::1")).values()
    assert "ListenStream=[::1]:8000\n" in socket
    assert "--host ::1 --port" in render("systemd", "user", Values(host="::1"))["uvicorn-user.service"]


def test_the_directory_that_systemd_makes_is_that_of_the_socket():
    text = render("systemd", "uds", Values(run="/run/shop"))["uvicorn-uds.service"]
    assert "RuntimeDirectory=shop\n" in text
    assert "--uds /run/shop/web.sock" in text


def test_a_unit_of_a_user_goes_into_their_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    result = run("systemd", "--variant", "user", "--app", "a:b")
    assert result.exit_code == 0, result.output
    assert (tmp_path / ".config" / "systemd" / "user" / "uvicorn-user.service").exists()
    assert "next: systemctl --user daemon-reload && systemctl --user enable --now uvicorn-user" in result.output


def test_a_directory_that_is_not_there_is_one_line():
    result = run("nginx", "--to", "/nonexistent")
    assert result.exit_code == 1
    assert "there is no directory /nonexistent; --to names another, --to - only prints" in result.output


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "web.conf").mkdir()
    result = run("nginx", "--to", str(tmp_path), "--force")
    assert result.exit_code == 1
    assert f"cannot write {tmp_path}/web.conf: Is a directory; --to names another directory" in result.output
