"""Config, run(), the command and the settings name the same things with the same defaults: they cannot drift apart.

Upstream's names, order and defaults are pinned too: positional arguments of Config are used.
"""

from __future__ import annotations

import inspect

import pytest

import uvicorn
from uvicorn.settings import LOGGING_CONFIG, SETTINGS

UPSTREAM = """\
app host=127.0.0.1 port=8000 uds fd loop=auto http=auto http2=False ws=auto ws_max_size=16777216 ws_max_queue=32
ws_ping_interval=20.0 ws_ping_timeout=20.0 ws_per_message_deflate=True lifespan=auto env_file log_config log_level
access_log=True use_colors interface=auto reload=False reload_dirs reload_delay=0.25 reload_includes reload_excludes
workers proxy_headers=True server_header=True date_header=True forwarded_allow_ips root_path='' limit_concurrency
limit_max_requests limit_max_requests_jitter=0 backlog=2048 timeout_keep_alive=5 timeout_notify=30
timeout_graceful_shutdown timeout_worker_healthcheck=5 callback_notify ssl_keyfile ssl_certfile ssl_keyfile_password
ssl_version=17 ssl_cert_reqs=0 ssl_ca_certs ssl_ciphers ssl_context_factory headers factory=False
h11_max_incomplete_event_size reset_contextvars=False
"""

ONLY_IN_PYTHON = {"timeout_notify", "callback_notify", "ssl_context_factory"}
"""What cannot be written as text, and what only a manager of its own needs."""
ASKS_THE_ENVIRONMENT = {"workers", "forwarded_allow_ips"}
"""None in Python means WEB_CONCURRENCY or FORWARDED_ALLOW_IPS; the command has asked already."""
DEFAULT_IN_PYTHON = {"log_config": LOGGING_CONFIG}
"""A file on the command line; in Python the dict itself, and None leaves logging alone."""


def parameters(function: object) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(function).parameters)  # type: ignore[arg-type]
    found.pop("self", None)
    return found


CONFIG = parameters(uvicorn.Config.__init__)
RUN = parameters(uvicorn.run)


def test_config_begins_as_upstreams_does():
    words = UPSTREAM.split()
    ours = list(CONFIG.values())[: len(words)]
    assert [one.name for one in ours] == [word.partition("=")[0] for word in words]
    for one, word in zip(ours[1:], words[1:], strict=True):
        if one.name not in DEFAULT_IN_PYTHON:
            default = word.partition("=")[2]
            assert (repr(one.default) if one.default == "" else str(one.default)) == (default or "None"), one.name


def test_what_is_ours_in_config_is_keyword_only():
    ours = list(CONFIG.values())[len(UPSTREAM.split()) :]
    assert ours
    assert {one.kind for one in ours} == {inspect.Parameter.KEYWORD_ONLY}


def test_run_takes_what_config_takes():
    assert set(RUN) == set(CONFIG) - {"timeout_notify", "callback_notify"} | {"app_dir"}
    for name in RUN.keys() & CONFIG.keys() - {"app"}:
        assert RUN[name].default == CONFIG[name].default, name
        assert RUN[name].kind is inspect.Parameter.KEYWORD_ONLY, name
        assert RUN[name].annotation == CONFIG[name].annotation, name
    assert RUN["app_dir"].default is None


def test_every_setting_is_an_argument_of_config():
    settings = {name for name, one in SETTINGS.items() if not one.command_only}
    assert set(CONFIG) - ONLY_IN_PYTHON == settings


@pytest.mark.parametrize("name", [name for name in SETTINGS if name in CONFIG and name != "app"])
def test_defaults_are_the_same_everywhere(name: str):
    if name in ASKS_THE_ENVIRONMENT:
        assert CONFIG[name].default is None
        return
    default = SETTINGS[name].default
    assert CONFIG[name].default == DEFAULT_IN_PYTHON.get(name, default or (None if default == () else default))


def test_the_command_has_an_option_for_every_setting():
    options = {param.name: param for param in uvicorn.main.params}
    assert set(options) == {*SETTINGS, "version"}
    for name, one in SETTINGS.items():
        if name != "app":
            assert one.long_option in options[name].opts
            assert options[name].default == one.default or not one.default


def test_config_keeps_each_argument_under_its_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    config = uvicorn.Config("a:b", log_config=None)
    assert set(CONFIG) - {"env_file"} - vars(config).keys() == set()
