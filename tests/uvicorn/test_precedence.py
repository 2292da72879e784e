"""Command line beats environment beats file beats default, for every setting."""

from __future__ import annotations

from typing import Any

import pytest

from uvicorn.errors import SettingError
from uvicorn.precedence import from_command_line, from_environment, from_file, merge, slips
from uvicorn.settings import SETTINGS, Settings

NOTHING: tuple[dict[str, Any], dict[str, str]] = ({}, {})

# For each setting three values that differ from its default and from each other: command line, environment, file.
SAMPLES: dict[str, tuple[str, str, Any]] = {
    "MIB|PERCENT": ("300", "80%", 256),
    "INTEGER": ("11", "12", 13),
    "SECONDS": ("11.5", "12.5", 13.5),
    "TEXT": ("first", "second", "third"),
    "PATH": ("first", "second", "third"),
    "MODE": ("600", "640", "660"),
    "LIST": ("10.0.0.1", "10.0.0.2", ["10.0.0.3"]),
    "HEADERS": ("forwarded", "x-forwarded-host", ["x-forwarded-for", "forwarded"]),
    "NUMBER|auto": ("11", "12", 13),
    "ADDRESS": (":11", ":12", [":13"]),
    "NAME:VALUE": ("A:1", "A:2", ["A:3"]),
}


def samples(name: str) -> tuple[Any, str, Any]:
    one = SETTINGS[name]
    if one.kind.metavar == "BOOLEAN":
        other = not one.default
        return other, str(not other), not other
    if name == "ssl_cert_reqs":
        return "1", "2", 0
    if one.kind.choices:
        names = [choice for choice in one.kind.choices if choice != one.default]
        return names[0], names[1], one.kind.choices[0]
    return SAMPLES[one.kind.metavar]


FROM_EVERYWHERE = [name for name, one in SETTINGS.items() if one.in_file]


@pytest.mark.parametrize("name", FROM_EVERYWHERE)
def test_the_stronger_source_wins(name: str):
    one = SETTINGS[name]
    on_command_line, in_environment, in_file = samples(name)
    parsed = one.parse([on_command_line] if one.many else on_command_line)
    command_line = from_command_line({name: parsed})
    environment = from_environment({one.variable: in_environment})
    file = from_file({name: in_file}, "uvicorn.toml")

    settings, provenance = merge(command_line, environment, file)
    assert getattr(settings, name) == parsed
    assert provenance == {name: "APP" if name == "app" else one.long_option}

    settings, provenance = merge(NOTHING, environment, file)
    assert getattr(settings, name) == one.parse_variable(in_environment)
    assert provenance == {name: one.variable}

    settings, provenance = merge(NOTHING, NOTHING, file)
    assert getattr(settings, name) == one.parse(in_file)
    assert provenance == {name: f"{name} in uvicorn.toml"}

    assert merge(NOTHING, NOTHING, NOTHING) == (Settings(), {})


@pytest.mark.parametrize("name", FROM_EVERYWHERE)
def test_a_bad_value_names_variable_or_key(name: str):
    one = SETTINGS[name]
    bad = {1: "is no list"} if one.many or one.kind.metavar in ("TEXT", "PATH", "LIST") else "\0bad"
    with pytest.raises(SettingError, match=rf"^{name} in x.toml: expected .*, got "):
        from_file({name: bad}, "x.toml")
    if bad == "\0bad":
        with pytest.raises(SettingError, match=rf"^{one.variable}: expected .*, got "):
            from_environment({one.variable: "\0bad"})


def test_variables_have_their_order():
    assert from_environment({"WEB_CONCURRENCY": "3"}) == ({"workers": 3}, {"workers": "WEB_CONCURRENCY"})
    both = from_environment({"WEB_CONCURRENCY": "3", "UVICORN_WORKERS": "2"})
    assert both == ({"workers": 2}, {"workers": "UVICORN_WORKERS"})
    assert from_environment({"FORWARDED_ALLOW_IPS": "*"})[0] == {"forwarded_allow_ips": "*"}


def test_an_empty_variable_says_nothing():
    assert from_environment({"UVICORN_PORT": "", "WEB_CONCURRENCY": ""}) == NOTHING


def test_variables_of_others_are_no_settings():
    assert from_environment({"UVICORN_COLOUR": "red", "UVICORN_NO_ACCESS_LOG": "1", "UVICORN_CHECK": "1"}) == NOTHING


def test_a_variable_holds_several_values():
    values = from_environment(
        {"UVICORN_HEADERS": "A:1 B:2", "UVICORN_RELOAD_DIRS": "/a b:/c", "UVICORN_BIND": ":1  unix:/x"}
    )[0]
    assert values == {
        "headers": (("A", "1"), ("B", "2")),
        "reload_dirs": ("/a b", "/c"),
        "bind": (":1", "unix:/x"),
    }


@pytest.mark.parametrize("text", ["1", "true", "yes", "on", "TRUE", "t", "y"])
def test_switches_have_words_in_the_environment(text: str):
    assert from_environment({"UVICORN_RELOAD": text})[0] == {"reload": True}
    assert from_environment({"UVICORN_ACCESS_LOG": "off"})[0] == {"access_log": False}


@pytest.mark.parametrize("key", ["timeout_keep_alive", "timeout-keep-alive"])
def test_keys_may_have_hyphens(key: str):
    assert from_file({key: 7}, "f")[0] == {"timeout_keep_alive": 7}


def test_keys_may_be_spelled_as_the_option():
    assert from_file({"header": "A:1", "reload-dir": "src"}, "f")[0] == {
        "headers": (("A", "1"),),
        "reload_dirs": ("src",),
    }


def test_a_key_given_twice_is_an_error():
    with pytest.raises(SettingError, match=r"^header in f: given twice, also as headers$"):
        from_file({"headers": ["A:1"], "header": ["B:1"]}, "f")


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("prot", "prot in f: there is no such setting; did you mean port?"),
        ("worker", "worker in f: there is no such setting; did you mean workers?"),
        ("timeout-keepalive", "timeout-keepalive in f: there is no such setting; did you mean timeout_keep_alive?"),
        ("xyzzy", "xyzzy in f: there is no such setting"),
        ("check", "check in f: there is no such setting"),
        ("config", "config in f: there is no such setting; did you mean log_config?"),
    ],
)
def test_an_unknown_key_is_an_error_that_suggests(key: str, line: str):
    with pytest.raises(SettingError) as caught:
        from_file({key: 1}, "f")
    assert str(caught.value) == line


@pytest.mark.parametrize("rival", [{"host": "x"}, {"port": 1}, {"uds": "/x"}, {"fd": 3}])
def test_bind_and_one_socket_exclude_each_other_in_one_source(rival: dict[str, Any]):
    (name,) = rival
    with pytest.raises(SettingError, match=f"^--bind and --{name} exclude each other"):
        merge(from_command_line({"bind": (":1",), **rival}), NOTHING, NOTHING)


def test_bind_of_a_stronger_source_replaces_one_socket_and_the_other_way_round():
    settings, _ = merge(from_command_line({"bind": (":1",)}), from_environment({"UVICORN_PORT": "2"}), NOTHING)
    assert settings.bind == (":1",)
    settings, provenance = merge(from_command_line({"port": 2}), from_environment({"UVICORN_BIND": ":1"}), NOTHING)
    assert (settings.bind, settings.port) == ((), 2)
    assert "bind" not in provenance


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("UVICORN_PROT", "UVICORN_PORT"),
        ("UVICORN_LOGLEVEL", "UVICORN_LOG_LEVEL"),
        ("UVICORN_RELOAD_DIR", "UVICORN_RELOAD_DIRS"),  # as the option is spelled
        ("UVICORN_NO_ACCESS_LOG", "UVICORN_ACCESS_LOG"),
        ("UVICORN_WEB_CONCURRENCY", "WEB_CONCURRENCY"),
        ("UVICORN_TIMEOUT_KEEPALIVE", "UVICORN_TIMEOUT_KEEP_ALIVE"),
    ],
)
def test_a_misspelt_variable_is_told_with_the_one_that_was_meant(variable: str, meant: str):
    assert slips({variable: "1", "UVICORN_HOST": "::"}) == [
        f"{variable}: there is no such setting; did you mean {meant}?"
    ]


def test_no_variable_of_a_setting_is_a_slip():
    assert slips({variable: "1" for one in SETTINGS.values() for variable in one.variables}) == []


@pytest.mark.parametrize("variable", ["UVICORN_WORKER", "UVICORN_VERSION", "UVICORN_OPTS", "UVICORN_", "PROT", "ORT"])
def test_a_variable_that_is_something_else_is_no_slip(variable: str):
    assert slips({variable: "1"}) == []


def test_an_empty_misspelt_variable_says_nothing():
    assert slips({"UVICORN_PROT": ""}) == []
