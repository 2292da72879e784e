from __future__ import annotations

from pathlib import Path

import pytest

from uvicorn.errors import SettingError
from uvicorn.sources import resolve, resolve_again


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_uvicorn_toml_is_read_beside_any_command_line(here: Path):
    (here / "uvicorn.toml").write_text("port = 9000\nworkers = 2\n")
    found = resolve({"app": "a:b", "workers": 3}, {})
    assert (found.settings.port, found.settings.workers, found.file) == (9000, 3, "uvicorn.toml")
    assert found.provenance == {"port": "port in uvicorn.toml", "app": "APP", "workers": "--workers"}


def test_the_project_file_is_read_only_when_nothing_else_names_the_app(here: Path):
    (here / "pyproject.toml").write_text('[tool.uvicorn]\napp = "x:y"\nport = 9000\n[tool.other]\nport = 1\n')
    found = resolve({}, {})
    assert (found.settings.app, found.settings.port) == ("x:y", 9000)
    assert found.provenance["port"] == "port in [tool.uvicorn] of pyproject.toml"
    for command_line, environ in (({"app": "a:b"}, {}), ({}, {"UVICORN_APP": "a:b"})):
        found = resolve(command_line, environ)
        assert (found.settings.app, found.settings.port, found.file) == ("a:b", 8000, None)


def test_a_project_file_without_our_table_says_nothing(here: Path):
    (here / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert resolve({}, {}).settings.app is None


def test_config_names_the_one_file_that_is_read(here: Path):
    (here / "uvicorn.toml").write_text("port = 9000\n")
    (here / "other.toml").write_text("host = '0.0.0.0'\n")
    for command_line, environ in (({"config": "other.toml"}, {}), ({}, {"UVICORN_CONFIG": "other.toml"})):
        found = resolve({"app": "a:b", **command_line}, environ)
        assert (found.settings.host, found.settings.port) == ("0.0.0.0", 8000)


def test_config_may_name_a_project_file(here: Path):
    (here / "pyproject.toml").write_text("[tool.uvicorn]\nport = 9000\n")
    assert resolve({"app": "a:b", "config": "pyproject.toml"}, {}).settings.port == 9000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("port = 99999", "port in uvicorn.toml: expected an integer from 0 to 65535, got 99999"),
        ("port = '80x'", "port in uvicorn.toml: expected an integer from 0 to 65535, got '80x'"),
        ("colour = 1", "colour in uvicorn.toml: there is no such setting; did you mean use_colors?"),
        ("access_log = 1", "access_log in uvicorn.toml: expected true or false, got 1"),
        ("env_file = 'nope'", "env_file in uvicorn.toml: there is no file or directory 'nope'"),
        ("port = x", "cannot read uvicorn.toml: Invalid value (at line 1, column 8)"),
    ],
)
def test_a_bad_file_is_one_line(here: Path, text: str, line: str):
    (here / "uvicorn.toml").write_text(text)
    with pytest.raises(SettingError) as caught:
        resolve({"app": "a:b"}, {})
    assert str(caught.value) == line


def test_a_config_file_that_is_not_there_is_an_error():
    with pytest.raises(SettingError, match=r"^--config: there is no file 'x.toml'$"):
        resolve({"config": "x.toml"}, {})
    with pytest.raises(SettingError, match=r"^UVICORN_CONFIG: there is no file 'x.toml'$"):
        resolve({}, {"UVICORN_CONFIG": "x.toml"})


@pytest.mark.parametrize("name", ["env_file", "log_config"])
def test_a_file_that_is_not_there_is_an_error_that_names_its_source(name: str):
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(SettingError, match=f"^{option}: there is no file or directory 'x'$"):
        resolve({"app": "a:b", name: "x"}, {})
    with pytest.raises(SettingError, match=f"^UVICORN_{name.upper()}: there is no"):
        resolve({"app": "a:b"}, {f"UVICORN_{name.upper()}": "x"})


def test_the_env_file_counts_for_the_variables_that_are_not_ours_alone(here: Path):
    (here / ".env").write_text("WEB_CONCURRENCY=3\nFORWARDED_ALLOW_IPS=*\nUVICORN_PORT=1\n")
    found = resolve({"app": "a:b", "env_file": ".env"}, {})
    assert (found.settings.workers, found.settings.forwarded_allow_ips, found.settings.port) == (3, "*", 8000)
    found = resolve({"app": "a:b", "env_file": ".env"}, {"WEB_CONCURRENCY": "2"})
    assert found.settings.workers == 2
    found = resolve({"app": "a:b", "env_file": ".env", "workers": 1}, {})
    assert found.settings.workers == 1


def test_an_env_file_that_cannot_be_read_is_an_error_that_names_it(here: Path):
    (here / "text.env").write_bytes(b"A=\xff\n")
    with pytest.raises(SettingError, match=r"^cannot read text\.env: 'utf-8' codec can't decode byte 0xff"):
        resolve({"app": "a:b", "env_file": "text.env"}, {})


def test_auto_is_resolved_and_remembered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("uvicorn.cpus.available", lambda: 7)
    found = resolve({"app": "a:b", "workers": "auto"}, {})
    assert (found.settings.workers, found.provenance["workers"]) == (7, "--workers (auto)")
    monkeypatch.setattr("uvicorn.cpus.available", lambda: 5)
    assert resolve_again(found.settings, found.provenance).settings.workers == 5


def test_resolving_again_keeps_the_command_line_and_reads_the_rest_anew(here: Path, monkeypatch: pytest.MonkeyPatch):
    (here / "uvicorn.toml").write_text("port = 9000\nroot_path = '/a'\n")
    monkeypatch.setenv("UVICORN_HOST", "0.0.0.0")
    first = resolve({"app": "a:b", "port": 9001})
    (here / "uvicorn.toml").write_text("port = 9002\nroot_path = '/b'\n")
    again = resolve_again(first.settings, first.provenance)
    assert (again.settings.app, again.settings.port, again.settings.root_path) == ("a:b", 9001, "/b")
    assert again.settings.host == "0.0.0.0"
