"""What is built is what is in the checkout.

A folder that pyproject.toml does not list is missing from the wheel without any error; these tests are the error.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support.building import ROOT, build, copy_checkout
from tests.support.processes import Running, free_port
from tests.support.wire import Wire

FOLDERS = {
    "uvicorn": "uvicorn",
    "server": "uvicorn/server",
    "manager": "uvicorn/manager",
    "contrib": "uvicorn/contrib",
}


def packages() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return set(project["tool"]["setuptools"]["packages"])


def sources(top: Path) -> dict[str, Path]:
    """Installed path -> file, for all that must be installed."""
    found = {}
    for folder, package in FOLDERS.items():
        for file in (top / folder).rglob("*"):
            relative = file.relative_to(top / folder)
            linked = any((top / folder / step).is_symlink() for step in [relative, *relative.parents])
            if file.is_file() and "__pycache__" not in file.parts and not linked:
                found[f"{package}/{relative.as_posix()}"] = file
    return found


def test_every_package_folder_is_listed():
    found = {str(Path(path).parent).replace("/", ".") for path in sources(ROOT) if path.endswith("/__init__.py")}
    assert packages() == found


def test_every_source_folder_is_a_package():
    folders = {str(Path(path).parent) for path in sources(ROOT) if path.endswith(".py")}
    assert {folder for folder in folders if f"{folder}/__init__.py" not in sources(ROOT)} == set()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", minversion="80")
    return copy_checkout(tmp_path_factory.mktemp("checkout") / "uvicorn")


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("build_wheel", checkout, tmp_path_factory.mktemp("wheel"))


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_every_source_and_nothing_else(wheel):
    assert contents(wheel) == set(sources(ROOT))


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name.partition(".dist-info/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        metadata = archive.read(names["METADATA"]).decode()
        assert "License-Expression: BSD-3-Clause" in metadata
        assert "Requires-Python: >=3.11" in metadata
        assert "The uvicorn authors" in archive.read(names["licenses/LICENSE"]).decode()
        assert "uvicorn = uvicorn.__main__:main" in archive.read(names["entry_points.txt"]).decode()
    assert "uvicorn/py.typed" in contents(wheel)


def test_the_source_archive_is_whole_and_builds_the_same_wheel(checkout, wheel, tmp_path):
    archive = build("build_sdist", checkout, tmp_path / "sdist")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    for name in ("tests/conftest.py", "tests/support/wire.py", "docs/architecture.md", "LICENSE", "CHANGELOG.md"):
        assert (unpacked / name).is_file(), name
    assert not (unpacked / "uvicorn" / "server").exists(), "a second copy, through the links of the checkout"
    assert contents(build("build_wheel", unpacked, tmp_path / "again")) == contents(wheel)


def test_the_version_is_declared_once(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    shown = subprocess.run(
        [sys.executable, "-c", "import uvicorn; print(uvicorn.__version__, uvicorn.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == [project["version"], str(tmp_path / "uvicorn" / "__init__.py")]


USERS = """\
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": __file__.encode()})
"""


@pytest.mark.parametrize("name", ["server", "manager"])
def test_a_users_own_module_of_the_same_name_is_served(wheel, tmp_path, name):
    site, project = tmp_path / "site", tmp_path / "project"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    project.mkdir()
    (project / "server.py").write_text(USERS)
    (project / "manager.py").write_text(USERS)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    with Running(f"{name}:app", "--port", free_port(), cwd=project, env={"PYTHONPATH": path}) as server:
        server.wait_for("Uvicorn running on")
        with Wire.connect(server) as wire:
            response = wire.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert response.body == str(project / f"{name}.py").encode()
