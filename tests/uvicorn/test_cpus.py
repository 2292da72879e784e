from __future__ import annotations

from pathlib import Path

import pytest

from uvicorn.cpus import available, cgroup_paths, quota_v1, quota_v2, quotas, worker_count


@pytest.mark.parametrize(
    ("processors", "limits", "workers"),
    [
        (4, [], 4),
        (1, [], 1),
        (0, [], 1),
        (4, [1.5], 2),
        (4, [0.1], 1),
        (4, [8.0], 4),
        (8, [4.0, 2.01], 3),
        (4, [4.0], 4),
    ],
)
def test_workers_are_processors_within_every_quota_rounded_up(processors: int, limits: list[float], workers: int):
    assert worker_count(processors, limits) == workers


@pytest.mark.parametrize(
    ("text", "quota"),
    [("150000 100000\n", 1.5), ("max 100000\n", None), ("50000", 0.5), ("", None), ("x y", None), ("1 0", None)],
)
def test_cpu_max_is_quota_and_period(text: str, quota: float | None):
    assert quota_v2(text) == quota


@pytest.mark.parametrize(
    ("quota", "period", "expected"), [("200000\n", "100000\n", 2.0), ("-1", "100000", None), ("", "", None)]
)
def test_cgroup_v1_has_two_files(quota: str, period: str, expected: float | None):
    assert quota_v1(quota, period) == expected


def test_the_groups_of_this_process_are_read():
    assert cgroup_paths("0::/a/b\n") == {"": "/a/b"}
    assert cgroup_paths("4:cpu,cpuacct:/d\n1:name=systemd:/e:f\n") == {
        "cpu": "/d",
        "cpuacct": "/d",
        "name=systemd": "/e:f",
    }
    assert cgroup_paths("") == {}


def test_the_quota_of_an_outer_group_binds_too(tmp_path: Path):
    (tmp_path / "outer/inner").mkdir(parents=True)
    (tmp_path / "outer/cpu.max").write_text("100000 100000\n")
    (tmp_path / "outer/inner/cpu.max").write_text("max 100000\n")
    assert quotas({"": "/outer/inner"}, str(tmp_path)) == [1.0]


def test_in_a_container_only_the_root_of_the_group_is_mounted(tmp_path: Path):
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert quotas({"": "/docker/abc"}, str(tmp_path)) == [2.5]
    assert quotas({"": "/../.."}, str(tmp_path)) == [2.5]


def test_cgroup_v1_is_read_where_it_is_mounted(tmp_path: Path):
    (tmp_path / "cpu/a").mkdir(parents=True)
    (tmp_path / "cpu/a/cpu.cfs_quota_us").write_text("50000")
    (tmp_path / "cpu/a/cpu.cfs_period_us").write_text("100000")
    assert quotas({"cpu": "/a"}, str(tmp_path)) == [0.5]


def test_there_is_at_least_one_worker_here():
    assert available() >= 1
