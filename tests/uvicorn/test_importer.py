from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from uvicorn.importer import ImportFromStringError, import_from_string, the_servers_modules


def test_an_object_is_returned_as_it_is():
    something = object()
    assert import_from_string(something) is something


def test_an_attribute_of_an_attribute_is_found():
    import os.path

    assert import_from_string("os:path.join") is os.path.join


@pytest.mark.parametrize("text", ["os", "os:", ":path", "", ":", "./app:app", ".app:app"])
def test_a_text_of_another_form_is_refused(text: str):
    with pytest.raises(ImportFromStringError) as caught:
        import_from_string(text)
    assert str(caught.value) == f'Import string "{text}" must be in format "<module>:<attribute>".'


@pytest.mark.parametrize("module", ["no_such_module", "no_such_package.module", "os.no_such_module"])
def test_a_module_that_does_not_exist_is_named(module: str):
    with pytest.raises(ImportFromStringError) as caught:
        import_from_string(f"{module}:x")
    assert str(caught.value) == f'Could not import module "{module}".'


def test_an_attribute_that_does_not_exist_is_named_whole():
    with pytest.raises(ImportFromStringError) as caught:
        import_from_string("os:path.nope.more")
    assert str(caught.value) == 'Attribute "path.nope.more" not found in module "os".'


@pytest.mark.parametrize(
    ("source", "error"),
    [("import no_such_dependency", ModuleNotFoundError), ("1 / 0", ZeroDivisionError), ("def", SyntaxError)],
)
def test_what_a_module_raises_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, error: type):
    name = f"raises_{error.__name__.lower()}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error):
        import_from_string(f"{name}:app")


@pytest.mark.parametrize("loop", ["auto", "asyncio", "none", "uvloop"])
@pytest.mark.parametrize("http", ["auto", "h11", "httptools"])
@pytest.mark.parametrize("ws", ["auto", "none", "websockets", "wsproto"])
def test_the_modules_of_a_server_are_there_for_each_choice(loop: str, http: str, ws: str):
    for module in the_servers_modules(loop, http, ws):
        assert find_spec(module) is not None or module == "uvloop", module


def test_a_choice_of_the_users_adds_no_module():
    none = the_servers_modules("none", "mine:Http", "mine:Ws")
    assert none == the_servers_modules(lambda: None, object, [])
    assert set(none) < set(the_servers_modules())
    assert not any("mine" in module for module in none)


def test_what_may_be_missing_comes_last():
    assert the_servers_modules()[-1] == "uvloop"
    assert "uvloop" not in the_servers_modules("asyncio")
