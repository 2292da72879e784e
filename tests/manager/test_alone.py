from __future__ import annotations

import contextlib
import importlib.util
import os

import pytest

from uvicorn import Config
from uvicorn.errors import ConfigError
from uvicorn.manager import alone


def test_a_title_that_nobody_could_see_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="proc_name: process titles need the package setproctitle: pip install"):
        alone.check(Config("app:app", proc_name="shop"))
    assert alone.check(Config("app:app")) is None


def test_a_directory_that_is_missing_is_refused():
    with pytest.raises(ConfigError, match="chdir: there is no directory '/nowhere/at/all'"):
        alone.check(Config("app:app", chdir="/nowhere/at/all"))


def test_without_such_settings_nothing_is_done():
    with contextlib.ExitStack() as stack:
        assert alone.settle(Config("app:app"), stack) is None


def test_what_can_be_undone_is_undone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    umask = os.umask(0o022)
    try:
        with contextlib.ExitStack() as stack:
            listeners = alone.settle(Config("app:app", port=0, chdir="in", umask=0o077, pid="web.pid"), stack)
            assert listeners is not None
            assert os.getcwd() == str(tmp_path / "in")
            assert (tmp_path / "web.pid").read_text() == f"{os.getpid()}\n"
        assert os.getcwd() == str(tmp_path)
        assert not (tmp_path / "web.pid").exists()
        assert listeners[0].address == "closed"
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(umask)


def test_a_child_is_told_where_and_who():
    document = alone.for_child(Config("app:app", chdir="shop", umask=0o027), "/srv")
    assert document == {"directory": "/srv/shop", "umask": 0o027, "credentials": None, "title": None}
    assert alone.for_child(Config("app:app", chdir="/else"), "/srv")["directory"] == "/else"
