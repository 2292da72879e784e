"""What may be imported in advance."""

from __future__ import annotations

import logging
import sys
import types

import pytest

from uvicorn.reload.jobs import NotPicklable, TargetJob
from uvicorn.reload.warm import Surroundings, are_shadowed, import_all, installed_modules, stamps


def test_only_installed_modules_are_listed_in_the_order_of_their_import():
    import json  # noqa: F401

    found = dict(installed_modules())
    assert found["json"].endswith("json/__init__.py")
    assert __name__ not in found
    assert "sys" not in found
    assert "__main__" not in found
    names = list(found)
    assert names == [name for name in sys.modules if name in found]


class Other(logging.Logger): ...


CHANGES = {
    "environment": lambda patch: patch.setenv("SOMETHING_NEW", "1"),
    "finder": lambda patch: patch.setattr(sys, "meta_path", [*sys.meta_path, object()]),
    "path": lambda patch: patch.setattr(sys, "path", [*sys.path, "/somewhere/else"]),
    "directory": lambda patch: patch.chdir("/"),
    "class of loggers": lambda patch: patch.setattr(logging, "_loggerClass", Other),
    "builtin": lambda patch: patch.setattr("builtins._", str, raising=False),
    "threads": lambda patch: patch.setattr("threading.Thread", object),
    "gevent": lambda patch: patch.setitem(sys.modules, "gevent.monkey", types.SimpleNamespace(saved={"os": {}})),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_surroundings_notice_what_a_library_could(change, monkeypatch: pytest.MonkeyPatch):
    before = Surroundings()
    assert before.are_unchanged()
    change(monkeypatch)
    assert not before.are_unchanged()


def test_a_path_that_is_named_twice_is_no_change(monkeypatch: pytest.MonkeyPatch):
    before = Surroundings()
    monkeypatch.setattr(sys, "path", [sys.path[-1] + "/.", *sys.path])
    assert before.are_unchanged()


def test_a_module_that_fails_spoils_all(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("uvicorn.reload.warm._places", lambda: (f"{tmp_path}/",))
    (tmp_path / "fails_when_warm.py").write_text("raise RuntimeError")
    (tmp_path / "fine_when_warm.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert import_all(["fine_when_warm"])
    assert not import_all(["fails_when_warm"])
    assert not import_all(["nothing_of_this_name"])


def test_a_module_that_imports_what_was_not_installed_spoils_all(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "asks_for_plugins.py").write_text("import plugin_of_the_user")
    (tmp_path / "plugin_of_the_user.py").write_text("")
    monkeypatch.setattr("uvicorn.reload.warm._places", lambda: (f"{tmp_path}/installed/",))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    assert not import_all(["asks_for_plugins"])


def test_an_installed_file_that_is_edited_has_another_stamp(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("a")
    before = stamps([str(file), str(tmp_path / "none")])
    assert before[1] is None
    assert stamps([str(file), str(tmp_path / "none")]) == before
    file.write_text("ab")
    assert stamps([str(file)]) != before[:1]


def test_a_module_of_the_same_name_shadows(tmp_path):
    (tmp_path / "fastapi").mkdir()  # without __init__.py what is installed is found all the same
    names = ["fastapi", "fastapi.routing", "jinja2"]
    assert not are_shadowed(names, [str(tmp_path), "/not there"])
    (tmp_path / "fastapi" / "__init__.py").write_text("")
    assert are_shadowed(names, [str(tmp_path)])
    (tmp_path / "fastapi" / "__init__.py").unlink()
    (tmp_path / "jinja2.py").write_text("")
    assert are_shadowed(names, [str(tmp_path)])


def test_a_target_that_does_not_pickle_is_named():
    from uvicorn.config import Config

    job = TargetJob(Config("a:b", log_config=None), lambda sockets: None)
    with pytest.raises(NotPicklable, match="lambda"):
        job.order()
