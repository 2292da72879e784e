"""What one program of the master leaves to the next."""

from __future__ import annotations

import json

import pytest

from uvicorn.manager import succession
from uvicorn.manager.handle import WorkerHandle
from uvicorn.manager.messages import PROTOCOL
from uvicorn.manager.plan import Phase, Wish
from uvicorn.manager.totals import Totals
from uvicorn.settings import Settings


class Channel:
    def fileno(self):
        return 11


def left(**changes):
    """A document, as `succession.document` makes it."""
    worker = WorkerHandle(id=7, slot=2, generation=3, born=1.0)
    worker.pid, worker.channel = 123, Channel()
    state = {
        "state": succession.STATE,
        "version": "0.60.0",
        "argv": ["uvicorn"],
        "sys_path": ["/srv"],
        "settings": Settings(app="app:app", workers=4).to_json(),
        "provenance": {"app": "APP"},
        "listeners": [{"fd": 5, "inherited": False, "uds": None, "host": "127.0.0.1"}],
        "pid_file": None,
        "boards": {"3": 6},
        "templates": [
            {"generation": 3, "pid": 122, "channel": 12, "born": 1.0, "preloaded": True, "protocol": PROTOCOL}
        ],
        "workers": [worker.to_json()],
        "fds": [5, 6, 11, 12],
        "wanted": 5,
        "target": 3,
        "ids": 9,
        "newest": 4,
        "totals": Totals(1.0, requests=8).to_json(),
    }
    return json.loads(json.dumps({**state, **changes}))


def test_a_known_document_goes_on_where_it_was():
    state = left()
    succession.try_out(state)
    wish = succession.wish_of(state, Wish(wanted=4, surge=2))
    assert wish == Wish(wanted=5, target=3, base=3, previous=3, surge=2)
    counters = succession.counters_of(state, now=50.0)
    assert (counters.ids, counters.newest, counters.totals.requests) == (9, 4, 8)


def test_a_template_that_is_not_described_whole_is_refused_before_and_none_is_fine():
    with pytest.raises(KeyError):
        succession.try_out(left(templates=[{"generation": 3, "pid": 122}]))
    state = left()
    del state["templates"]
    succession.try_out(state)


def test_of_an_unknown_one_only_the_core_is_read():
    state = left(state=99, workers=[{"pid": 123, "channel": 11}], boards="?", wanted="?", totals="?", ids="?")
    succession.try_out(state)
    wish = succession.wish_of(state, Wish(wanted=4))
    assert (wish.wanted, wish.target, wish.phase) == (4, 2, Phase.ROLLING)
    counters = succession.counters_of(state, now=50.0)
    assert (counters.ids, counters.newest, counters.totals) == (0, 2, Totals(50.0))


def test_settings_of_another_version_are_dropped_and_named(caplog):
    settings = json.loads(Settings(app="app:app").to_json())
    state = left(settings=json.dumps({**settings, "of_tomorrow": 1}), provenance={"app": "APP", "of_tomorrow": "--x"})
    succession.try_out(state)
    source = succession.source_of(state)
    assert source.settings.app == "app:app"
    assert dict(source.provenance) == {"app": "APP"}
    assert "This version has no settings of_tomorrow: they are dropped" in caplog.text


@pytest.mark.parametrize("missing", ["settings", "provenance", "listeners", "workers", "totals", "wanted"])
def test_a_document_that_cannot_be_taken_over_is_refused_before(missing):
    state = left()
    del state[missing]
    with pytest.raises(KeyError):
        succession.try_out(state)
