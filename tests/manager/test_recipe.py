import pickle

import pytest

from uvicorn.config import Config
from uvicorn.manager.recipe import ConfigSource, NotPicklable, Recipe, working_directory


def recipe(**more):
    values = {
        "master": 7,
        "generation": 2,
        "directory": "/srv",
        "sys_path": ["/a", ""],
        "late_paths": [""],
        "argv": ["uvicorn"],
        "listeners": [3, 4],
        "voice": 9,
        "board": 10,
        "preload": False,
        "name": "app:app",
        "umask": None,
        "credentials": None,
    }
    return Recipe(**{**values, **more})


def test_a_recipe_survives_the_way():
    one = recipe(settings='{"port": 1}', given=("port",))
    assert Recipe.from_bytes(one.to_bytes()) == one
    two = recipe(pickled=b"\x00\xff\n", preparation=b"\n")
    assert Recipe.from_bytes(two.to_bytes()) == two


def test_the_first_line_is_what_must_be_known_before_any_import():
    assert recipe().to_bytes().split(b"\n")[0] == b'[["/a", ""], [""]]'


def test_a_config_travels():
    source = ConfigSource(Config("app:app", port=4321))
    assert pickle.loads(source.ingredients()["pickled"]).port == 4321


def test_what_does_not_pickle_is_named_with_the_way_out():
    config = Config("app:app", callback_notify=lambda: None)
    with pytest.raises(
        NotPicklable, match=r"its attribute 'callback_notify' cannot be pickled .*; define what it refers"
    ):
        ConfigSource(config)


def test_a_symbolic_link_stays_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "release-1").mkdir()
    link = tmp_path / "current"
    link.symlink_to("release-1")
    monkeypatch.chdir(link)
    monkeypatch.setenv("PWD", str(link))
    assert working_directory() == str(link)
    monkeypatch.setenv("PWD", str(tmp_path))
    assert working_directory() == str(tmp_path / "release-1")
