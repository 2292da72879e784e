from __future__ import annotations

import pickle

import pytest

from uvicorn.settings import SETTINGS, Settings, not_available


def test_every_setting_has_its_default():
    settings = Settings()
    for name, one in SETTINGS.items():
        assert getattr(settings, name) == one.default


@pytest.mark.parametrize("name", SETTINGS)
def test_a_default_is_a_value_that_the_setting_takes(name: str):
    one = SETTINGS[name]
    assert one.parse(one.default) == one.default or one.default is None


@pytest.mark.parametrize("name", SETTINGS)
def test_help_is_a_sentence(name: str):
    text = SETTINGS[name].help
    assert text[0].isupper()
    assert text.endswith((".", ")."))


def test_settings_do_not_change():
    settings = Settings(port=1)
    with pytest.raises(AttributeError, match="replace"):
        settings.port = 2
    assert settings.replace(port=2) == Settings(port=2)
    assert settings.port == 1


def test_a_setting_that_does_not_exist_is_refused():
    with pytest.raises(TypeError, match="no settings prot"):
        Settings(prot=1)


def test_json_carries_every_value_to_another_process():
    settings = Settings(
        app="a:b",
        bind=("127.0.0.1:1", "unix:/x"),
        headers=(("A", "b"), ("C", "\xe9")),
        uds_mode=0o660,
        timeout_keep_alive=2.5,
        workers=3,
        access_log=False,
    )
    again = Settings.from_json(settings.to_json())
    assert again == settings
    assert again != Settings()
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_json_of_another_version_is_refused():
    with pytest.raises(TypeError, match="colour"):
        Settings.from_json('{"colour": "red"}')


def test_a_secret_does_not_show():
    shown = repr(Settings(app="a:b", ssl_keyfile_password="hunter2"))
    assert shown == "Settings(app='a:b')"


def test_arguments_are_those_of_config():
    arguments = Settings(app="a:b", headers=(("A", "b"),), bind=(":1",)).arguments()
    assert arguments["headers"] == [("A", "b")]
    assert arguments["bind"] == [":1"]
    assert arguments["reload_dirs"] is None
    assert arguments["log_config"]["version"] == 1
    assert not {"config", "check", "app_dir"} & arguments.keys()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"http": "zttp"}, "zttp"),
        ({"http2": True}, "HTTP/2"),
        ({"loop": "zuvloop"}, "zuvloop"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(values: dict[str, object], named: str):
    line = not_available(Settings(**values))
    assert line is not None
    assert named in line
    assert "\n" not in line
    assert not_available(Settings()) is None
