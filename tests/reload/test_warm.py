"""What may be imported in advance."""

from __future__ import annotations

import sys
import types

import pytest

from uvicorn.reload.jobs import NotPicklable, TargetJob
from uvicorn.reload.warm import Surroundings, import_all, installed_modules


def test_only_installed_modules_are_listed_in_the_order_of_their_import():
    import json  # noqa: F401

    found = dict(installed_modules())
    assert found["json"].endswith("json/__init__.py")
    assert __name__ not in found
    assert "sys" not in found
    assert "__main__" not in found
    names = list(found)
    assert names == [name for name in sys.modules if name in found]


def test_surroundings_notice_what_a_library_could(monkeypatch: pytest.MonkeyPatch):
    assert Surroundings().are_unchanged()
    before = Surroundings()
    monkeypatch.setenv("SOMETHING_NEW", "1")
    assert not before.are_unchanged()
    before = Surroundings()
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, object()])
    assert not before.are_unchanged()
    monkeypatch.setitem(sys.modules, "gevent.monkey", types.SimpleNamespace(saved={"os": {}}))  # type: ignore[arg-type]
    assert not Surroundings().are_unchanged()


def test_what_cannot_be_imported_is_passed_over(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken_for_warm_test.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(str(tmp_path))
    import_all(["nothing_of_this_name", "broken_for_warm_test", "colorsys"])
    assert "colorsys" in sys.modules


def test_a_target_that_does_not_pickle_is_named():
    from uvicorn.config import Config

    job = TargetJob(Config("a:b", log_config=None), lambda sockets: None)
    with pytest.raises(NotPicklable, match="lambda"):
        job.order()
