"""What this uvicorn does is what upstream's was seen to do, or a difference that docs/differences.toml lists.

upstream.json holds the observations of upstream's uvicorn, ours.json those of ours that differ. `python -m
tests.compat` records both; a difference is never taken over without an entry in the list.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .differences import LIST, OURS, UPSTREAM, differences, is_as_upstream, recorded
from .observations import GROUPS, belongs

DOCS = LIST.parent


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.timeout(300)
def test_what_is_observed_is_upstreams_or_listed(group: str, tmp_path: Path):
    observed = GROUPS[group](sys.executable, tmp_path)
    expected = {name: value for name, value in recorded(UPSTREAM).items() if belongs(name, group)}
    assert observed.keys() >= expected.keys(), "no longer observed"
    wrong = []
    for name, upstream in expected.items():
        ours, known = observed[name], recorded(OURS)
        right = ours == known[name] if name in known else is_as_upstream(name, ours, upstream)
        if not right:
            listed = f"\n    known   {json.dumps(known[name])}" if name in known else ""
            wrong.append(f"{name}\n    upstream {json.dumps(upstream)}{listed}\n    now      {json.dumps(ours)}")
    assert not wrong, "\n".join(wrong)


def test_every_difference_that_was_observed_is_listed():
    unlisted = [name for name in recorded(OURS) if not any(one.covers(name) for one in differences())]
    assert unlisted == []


def test_every_entry_of_the_list_that_names_observations_is_seen_in_them():
    stale = [
        f"{one.what}: {pattern}"
        for one in differences()
        for pattern in one.shown
        if not any(type(one)("", "", "", "", "", (pattern,)).covers(name) for name in recorded(OURS))
    ]
    assert stale == []


def test_what_differs_does_differ():
    known, upstream = recorded(OURS), recorded(UPSTREAM)
    assert known.keys() <= upstream.keys()
    assert [name for name, value in known.items() if is_as_upstream(name, value, upstream[name])] == []


def test_each_difference_is_listed_once_and_has_its_reason():
    whats = [(one.topic, one.what) for one in differences()]
    assert len(whats) == len(set(whats))
    assert [one.what for one in differences() if not (one.before and one.now and one.why)] == []


def test_the_page_is_made_from_the_list():
    ran = subprocess.run([sys.executable, DOCS / "make_migrating.py", "--check"], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_options_that_the_page_names_are_ours():
    import uvicorn

    known = {option for param in uvicorn.main.params for option in (*param.opts, *param.secondary_opts)}
    table = (DOCS / "migrating.md").read_text().partition("| uvicorn | gunicorn |")[2].partition("\n\n")[0]
    rows = [row.split("|") for row in table.splitlines() if row.startswith("| `")]
    ours = [option for row in rows for option in re.findall("`(--[a-z-]+)", row[1])]
    assert len(ours) > 40
    assert [option for option in ours if option not in known] == []
