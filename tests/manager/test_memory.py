"""The readers of memory, on this process and on made-up files."""

from __future__ import annotations

import os
import sys

import pytest

from uvicorn import Config
from uvicorn.errors import SettingError
from uvicorn.manager import memory, tuning

MIB = 2**20
NOBODY = 2**22 + 1  # above the highest pid that Linux gives


def test_both_readers_tell_the_memory_of_this_process_alike():
    pytest.importorskip("psutil")
    ours, theirs = memory.from_proc(os.getpid()), memory.from_psutil(os.getpid())
    assert ours is not None
    assert theirs is not None
    assert MIB < ours < 2**34
    assert abs(ours - theirs) < ours / 2  # it goes on changing between two looks


@pytest.mark.parametrize("read", [memory.from_proc, memory.from_psutil])
def test_nobody_has_no_memory(read):
    if read is memory.from_psutil:
        pytest.importorskip("psutil")
    assert read(NOBODY) is None


def test_psutil_is_taken_where_it_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", object())
    assert memory.reader() is memory.from_psutil
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert memory.reader() is memory.from_proc


def test_where_psutil_may_not_look_its_plain_number_counts(monkeypatch):
    psutil = pytest.importorskip("psutil")

    def denied(self):
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "memory_full_info", denied)
    assert memory.from_psutil(os.getpid()) > MIB


def test_without_smaps_rollup_the_resident_size_counts(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "statm").write_text("9000 300 100 1 0 50 0\n")
    assert memory.from_proc(7, str(tmp_path)) == 300 * os.sysconf("SC_PAGESIZE")
    (tmp_path / "7" / "smaps_rollup").write_text("5581-7ffd ---p [rollup]\nRss:   800 kB\nPss:   500 kB\n")
    assert memory.from_proc(7, str(tmp_path)) == 500 * 1024
    assert memory.from_proc(8, str(tmp_path)) is None


def made_up(tmp_path, groups, **limits):
    """/proc and /sys/fs/cgroup with these lines of /proc/self/cgroup, and these files by path."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
    for path, text in limits.items():
        file = tmp_path / "cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return {"proc": str(tmp_path / "proc"), "cgroups": str(tmp_path / "cgroup")}


@pytest.mark.parametrize(
    ("groups", "limits", "found"),
    [
        ("0::/a/b\n", {"a/b/memory.max": f"{900 * MIB}\n", "a/memory.max": "max\n"}, 900 * MIB),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{400 * MIB}\n"}, 400 * MIB),
        ("0::/a/b\n", {"a/b/memory.max": f"{900 * MIB}\n", "a/memory.max": f"{400 * MIB}\n"}, 400 * MIB),
        ("0::/a\n", {"a/memory.max": "max\n"}, None),
        ("0::/../elsewhere\n", {"memory.max": f"{64 * MIB}\n"}, 64 * MIB),
        ("3:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": f"{512 * MIB}\n"}, 512 * MIB),
        ("3:memory:/docker/f00\n", {"memory/memory.limit_in_bytes": f"{512 * MIB}\n"}, 512 * MIB),
        ("3:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("2:cpu:/a\n", {}, None),
    ],
)
def test_the_narrowest_limit_of_the_groups_above_counts(tmp_path, groups, limits, found):
    assert memory.group_limit(**made_up(tmp_path, groups, **limits)) == found


def test_without_proc_there_is_no_limit(tmp_path):
    assert memory.group_limit(str(tmp_path), str(tmp_path)) is None


def test_all_there_is_is_at_least_something_and_at_most_the_machine(monkeypatch):
    machine = memory.available()
    monkeypatch.setattr(memory, "group_limit", lambda: 300 * MIB)
    assert memory.available() == 300 * MIB <= machine
    monkeypatch.setattr(memory, "group_limit", lambda: 2**59)
    assert memory.available() < 2**59


def test_a_percentage_is_shared_by_the_workers(monkeypatch):
    monkeypatch.setattr(tuning, "available", lambda: 2000 * MIB)
    assert tuning.memory_limit(Config("app:app", workers=4, limit_worker_memory="80%")) == 400
    assert tuning.memory_limit(Config("app:app", workers=4, limit_worker_memory=300)) == 300
    assert tuning.memory_limit(Config("app:app", workers=4)) == 0


def test_a_bad_value_of_a_program_is_told():
    with pytest.raises(SettingError, match=r"limit_worker_memory: expected MiB.* got '2 GB'"):
        tuning.memory_limit(Config("app:app", limit_worker_memory="2 GB"))


def test_limits_that_the_group_cannot_hold_are_told(monkeypatch):
    monkeypatch.setattr(tuning, "group_limit", lambda: 1000 * MIB)
    (line,) = tuning.warnings(Config("app:app", workers=4, limit_worker_memory=300))
    assert line.startswith("limit_worker_memory: 4 workers of 300 MiB each are more than the 1000 MiB")
    assert tuning.warnings(Config("app:app", workers=3, limit_worker_memory=300)) == []
    assert tuning.warnings(Config("app:app", workers=4, limit_worker_memory="90%")) == []
    monkeypatch.setattr(tuning, "group_limit", lambda: None)
    assert tuning.warnings(Config("app:app", workers=4, limit_worker_memory=300)) == []
