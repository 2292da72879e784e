from __future__ import annotations

import math
import socket
from decimal import Decimal
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import pytest

from uvicorn.arguments import CHECKED
from uvicorn.config import Config
from uvicorn.errors import ConfigError, SettingError
from uvicorn.importer import ImportFromStringError
from uvicorn.kinds import BOOLEAN
from uvicorn.listeners import open_listeners
from uvicorn.settings import SETTINGS


class Like:
    """A number as numpy's are: no int, but usable as an index."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __index__(self) -> int:
        return self.number


class Number(IntEnum):
    FIVE = 5


class Name(StrEnum):
    LOOPBACK = "127.0.0.1"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)


def config(**arguments: Any) -> Config:
    return Config("a:b", log_config=None, **arguments)


TAKEN: list[tuple[str, Any, Any]] = [
    ("port", "8000", 8000),
    ("port", Like(8000), 8000),
    ("port", None, None),
    ("limit_concurrency", "5", 5),
    ("limit_concurrency", Number.FIVE, 5),
    ("limit_concurrency", 4.5, 5),  # reached by five, as it was
    ("limit_concurrency", 0, 0),  # refuses all, as it did
    ("limit_concurrency", math.inf, None),
    ("limit_max_requests", Decimal(5), 5),
    ("limit_max_requests_jitter", None, 0),
    ("backlog", -1, -1),
    ("backlog", None, 2048),
    ("timeout_keep_alive", "5", 5),
    ("timeout_keep_alive", Decimal("0.5"), 0.5),
    ("timeout_keep_alive", math.inf, math.inf),
    ("timeout_keep_alive", None, 5),
    ("timeout_graceful_shutdown", -1, -1),
    ("timeout_graceful_shutdown", None, None),
    ("ws_max_size", None, None),
    ("ws_ping_interval", None, None),
    ("ws_ping_timeout", 5, 5),
    ("root_path", None, ""),
    ("host", Name.LOOPBACK, "127.0.0.1"),
    ("host", None, None),
    ("host", ["127.0.0.1"], ["127.0.0.1"]),
    ("uds", Path("/x"), Path("/x")),
    ("uds", b"/x", b"/x"),
    ("ssl_cert_reqs", Number(5) - 3, 2),
    ("ssl_keyfile_password", b"secret", b"secret"),
    ("fd", 3, 3),
    ("fd", [3, "4"], [3, 4]),
    ("bind", ":8000", [":8000"]),
    ("bind", None, []),
    ("umask", "022", 0o22),
    ("forwarded_headers", ["forwarded"], "forwarded"),
    ("forwarded_allow_ips", {"::1"}, {"::1"}),
    ("headers", (("A", "b"),), (("A", "b"),)),
    ("headers", {"A": "b"}.items(), [("A", "b")]),
    ("workers", "2", 2),
    ("workers", 2.0, 2),
    ("workers", Like(2), 2),
    ("workers", -1, 1),
]

REFUSED: list[tuple[str, Any, str]] = [
    ("port", "http", "an integer from 0 to 65535"),
    ("limit_concurrency", "many", "an integer of at least 1"),
    ("limit_concurrency", [5], "an integer of at least 1"),
    ("limit_concurrency", math.nan, "an integer of at least 1"),
    ("limit_max_requests", "x", "an integer of at least 1"),
    ("limit_request_fields", 0, "an integer of at least 1"),
    ("surge", -1, "an integer of at least 0"),
    ("backlog", "x", "an integer from 0 to 2147483647"),
    ("timeout_keep_alive", "5s", "a number of seconds, 0 or more"),
    ("timeout_write", -1, "a number of seconds, 0 or more"),
    ("ws_ping_interval", "x", "a number of seconds"),
    ("root_path", 5, "text"),
    ("host", b"::1", "text"),
    ("uds", 5, "a path"),
    ("ssl_keyfile", 5, "a path"),
    ("fd", 5.5, "an integer of at least 0"),
    ("bind", "nonsense", r"host:port, \[v6\]:port, unix:PATH or fd://N"),
    ("workers", "x", "an integer of at least 1, or auto"),
    ("workers", [2], "an integer of at least 1, or auto"),
    ("forwarded_allow_ips", 5, "text, or a list of texts"),
    ("forwarded_headers", "x-real-ip", "some of x-forwarded-for, .*"),
    ("headers", {"A": "b"}, r"a list of \(name, value\)"),
    ("limit_worker_memory", "much", "MiB, .*"),
]


@pytest.mark.parametrize(("name", "value", "expected"), TAKEN)
def test_what_always_worked_is_taken_and_a_text_is_what_it_says(name: str, value: Any, expected: Any):
    assert getattr(config(**{name: value}), name) == expected


@pytest.mark.parametrize(("name", "value", "expected"), REFUSED)
def test_another_type_is_one_line_with_the_setting_what_was_expected_and_the_value(
    name: str, value: Any, expected: str
):
    with pytest.raises(SettingError, match=f"^{name}: expected {expected}, got "):
        config(**{name: value})


@pytest.mark.parametrize("value", [[(b"A", b"b")], [("A", 1)], ["A: b"], [("A", "b\r\nC: d")]])
def test_a_header_that_cannot_be_sent_is_refused(value: Any):
    with pytest.raises(SettingError, match=r"^headers: expected .*, got "):
        config(headers=value)


def test_a_list_of_headers_stays_the_one_that_was_given():
    headers = [("A", "b")]
    assert config(headers=headers).headers is headers


def test_a_secret_is_not_shown():
    with pytest.raises(SettingError, match=r"^ssl_keyfile_password: expected text, got int$"):
        config(ssl_keyfile_password=12345)


@pytest.mark.parametrize("name", [name for name, one in SETTINGS.items() if one.kind is BOOLEAN])
def test_anything_may_be_true_or_false(name: str):
    assert name not in CHECKED


@pytest.mark.parametrize("name", CHECKED)
def test_a_default_is_taken_as_it_is(name: str):
    default = getattr(config(), name)
    assert getattr(config(**{name: default}), name) == default


@pytest.mark.parametrize(("name", "error"), [("http", ImportFromStringError), ("ws", ImportFromStringError)])
def test_a_protocol_that_does_not_exist_names_the_setting(name: str, error: type[Exception]):
    with pytest.raises(error, match=f"^{name}: expected one of auto, .* or a class, got 'bad'$"):
        config(**{name: "bad"}).load()
    with pytest.raises(ConfigError, match=f"^{name}: expected one of auto, .* or a class, got 5$"):
        config(**{name: 5}).load()


def test_several_hosts_are_all_listened_on():
    listeners = open_listeners(config(host=["127.0.0.1", "127.0.0.2"], port=None))
    try:
        assert [one.sock.getsockname()[0] for one in listeners] == ["127.0.0.1", "127.0.0.2"]
        assert {one.sock.family for one in listeners} == {socket.AF_INET}
    finally:
        for one in listeners:
            one.close()


def test_the_table_says_no_other_word_of_what_a_program_may_give():
    assert {one.python for one in SETTINGS.values()} == {"", "any size", "unchecked"}
    assert not [name for name, one in SETTINGS.items() if one.python == "any size" and name not in CHECKED]
