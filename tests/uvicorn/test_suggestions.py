from __future__ import annotations

from pathlib import Path

import pytest

from uvicorn.suggestions import did_you_mean

FILES = {
    "main.py": "from fastapi import FastAPI\napp: object = FastAPI()\nasync def helper(): ...\n",
    "api/__init__.py": "",
    "api/v1.py": "application = 1\nclass Admin: ...\n",
    "space/served.py": "def create_app(): ...\nimport json as application_settings\n",
    "broken.py": "def",
    "latin.py": b"# \xff\napp = 1",
    "data/notes.txt": "",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("mian:app", "main:app"),
        ("main:ap", "main:app"),
        ("main:aplication", "main:app"),
        ("main:nothing_like_it", "main:app"),
        ("mian:aap", "main:app"),
        ("main:aap.mount", "main:app.mount"),
        ("main", "main:app"),
        ("main:", "main:app"),
        ("main.py", "main:app"),
        ("main.py:app", "main:app"),
        ("./main.py:app", "main:app"),
        ("api/v1.py:application", "api.v1:application"),
        ("api.v2:application", None),  # two letters of which one is wrong may mean anything
        ("apis.v1:app", "api.v1:application"),
        ("api.v1:admin", "api.v1:Admin"),
        ("space.served:app", "space.served:create_app"),
        ("main:app", None),
        ("main:app.nope", None),
        ("nothing_like_it:app", None),
        ("broken:app", None),
        ("latin:app", None),
        ("data.notes:app", None),
        ("main.app.more:x", None),
        ("", None),
        (":app", None),
        ("..:app", None),
        ("/etc/passwd:app", None),
    ],
)
def test_what_was_meant(place: Path, said: str, meant: str | None):
    assert did_you_mean(said, [str(place / "not there"), str(place)]) == meant


def test_nothing_is_imported_and_installed_modules_are_no_matter(place: Path, monkeypatch: pytest.MonkeyPatch):
    (place / "main.py").write_text("app = 1\nraise SystemExit(5)\n")
    monkeypatch.setattr("sys.path", [str(place), *[path for path in __import__("sys").path if "site-packages" in path]])
    assert did_you_mean("mian:app") == "main:app"
    assert did_you_mean("pytst:app") is None
