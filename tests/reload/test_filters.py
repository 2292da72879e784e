"""Which files count: patterns, ignored directories, and what one walk finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from uvicorn.reload.filters import Filter, shown
from uvicorn.reload.survey import survey


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("a.py", True),
        ("a.txt", False),
        (".a.py", False),
        ("~a.py", False),
        ("a.pyc", False),
        ("page.html", True),
        (".env", True),
        (".other", False),
        ("a_test.py", False),
    ],
)
def test_patterns(name: str, taken: bool):
    filter = Filter(("/r",), includes=("*.html", ".env"), excludes=("*_test.py",))
    assert filter.takes_name(f"/r/{name}") is taken


def test_a_default_pattern_is_given_up_by_naming_it_for_the_opposite():
    assert not Filter(("/r",), excludes=("*.py",)).takes_name("/r/a.py")
    assert Filter(("/r",), includes=(".*",)).takes_name("/r/.a.py")


@pytest.mark.parametrize("folder", [".venv", ".git", "node_modules", "__pycache__", "site-packages", "x/.cache", "no"])
def test_ignored_directories(folder: str):
    filter = Filter(("/r",), excluded_directories=("/r/no",))
    assert not filter.takes(f"/r/{folder}/a.py")
    assert not filter.takes(f"/r/{folder}/deeper/a.py")
    assert filter.takes("/r/package/nothing/a.py")
    assert not filter.takes("/elsewhere/a.py")


def test_a_root_is_looked_into_whatever_its_name():
    assert Filter(("/home/.hidden",)).takes("/home/.hidden/a.py")


def test_a_survey_follows_links_and_sees_each_directory_once(tmp_path: Path):
    for folder in ("src/inner", "env", "outside"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text("")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    (tmp_path / "src" / "loop").symlink_to(tmp_path / "src")
    (tmp_path / "src" / "link").symlink_to(tmp_path / "outside")
    root = str(tmp_path / "src")
    found = survey(Filter((root,)))
    assert sorted(found.files) == [f"{root}/inner/a.py", f"{root}/link/a.py"]
    assert found.directories == {root, f"{root}/inner", f"{root}/link"}
    assert str(tmp_path / "env") not in survey(Filter((str(tmp_path),))).directories


def test_changes_are_new_changed_and_deleted_files(tmp_path: Path):
    filter = Filter((str(tmp_path),))
    kept, gone, new = (str(tmp_path / name) for name in ("kept.py", "gone.py", "new.py"))
    Path(kept).write_text("1")
    Path(gone).write_text("1")
    before = survey(filter)
    Path(gone).unlink()
    Path(kept).write_text("12")
    Path(new).write_text("1")
    assert before.changes_to(survey(filter)) == sorted({kept, gone, new})
    assert (before.update(kept), before.update(gone), before.update(new)) == (True, True, True)
    assert (before.update(kept), before.update(gone), before.update(new)) == (False, False, False)


def test_paths_are_shown_relative_to_the_working_directory():
    assert shown(["/w/b.py", "/w/pkg/a.py", "/other/c.py"], "/w") == "'/other/c.py', 'b.py', 'pkg/a.py'"


def test_of_many_paths_the_first_are_shown():
    paths = [f"/w/{number}.py" for number in range(9)]
    assert shown(paths[:8], "/w").count(".py'") == 8
    assert shown(paths, "/w").endswith("'7.py' and 1 more")
