"""The child that waits with the installed packages imported, and all that must make it begin anew."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Running

from .helpers import APP, DEADLINE, save, start, until_served

PRETEND = """\
import os, site, sys
installed = os.environ["INSTALLED"]
site.addsitedir(installed)
before = site.getsitepackages
site.getsitepackages = lambda *prefixes: [*before(*prefixes), installed]
"""
"""A sitecustomize.py: one more folder is site-packages."""


def serving(expression: str, before: str = "") -> str:
    return f"{before}\n" + APP.format(version="{}").replace('version = "{}"', f"version = str({expression})")


class Project:
    def __init__(self, uvicorn: Callable[..., Running], folder: Path, installed: Path) -> None:
        self._uvicorn, self.folder, self.installed = uvicorn, folder, installed
        (installed / "dependency.py").write_text("value = 'old'\n")

    def start(self, app: str, *arguments: Any, waits: bool = True) -> Running:
        """Start it, and return when the next child waits, if it is to."""
        customize = self.installed.parent / "customize"
        customize.mkdir()
        (customize / "sitecustomize.py").write_text(PRETEND)
        env = {"PYTHONPATH": str(customize), "INSTALLED": str(self.installed)}
        server = start(self._uvicorn, *arguments, app=app, env=env)
        server.wait_for("Application startup complete", timeout=DEADLINE)
        if waits:
            server.wait_for_descendants(3, timeout=DEADLINE)  # what serves, what waits, what watches
        return server


@pytest.fixture
def project(uvicorn: Callable[..., Running], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    installed = tmp_path_factory.mktemp("place") / "packages"
    installed.mkdir()
    return Project(uvicorn, tmp_path, installed)


IS_WARM = "import sys\nfound = 'dependency' in sys.modules\nimport dependency"


def test_it_waits_with_what_was_imported_before(project: Project):
    server = project.start(serving("'first'", IS_WARM))
    save(project.folder / "app.py", serving("found", IS_WARM))
    until_served(server, "True")


@pytest.mark.parametrize(
    "line",
    [
        "import os; os.environ['X'] = '1'",
        "import sys; sys.path.append('/somewhere/else')",
        "import logging; logging.setLoggerClass(type('Mine', (logging.Logger,), {}))",
    ],
)
def test_nothing_is_imported_before_code_that_a_package_could_notice(project: Project, line: str):
    before = IS_WARM.replace("import dependency", f"{line}\nimport dependency")
    server = project.start(serving("'first'", before))
    save(project.folder / "app.py", serving("found", before))
    until_served(server, "False")


def test_an_edited_installed_package_is_imported_anew(project: Project):
    server = project.start(serving("'first ' + dependency.value", "import dependency"))
    save(project.installed / "dependency.py", "value = 'edited'\n")
    save(project.folder / "app.py", serving("dependency.value", "import dependency"))
    until_served(server, "edited")


def test_an_upgraded_package_is_imported_anew(project: Project):
    server = project.start(serving("'first'", IS_WARM))
    (project.installed / "dependency-2.dist-info").mkdir()
    save(project.folder / "app.py", serving("found", IS_WARM))
    until_served(server, "False")


def test_a_module_of_ones_own_that_hides_an_installed_one_is_imported(project: Project):
    server = project.start(serving("'first ' + dependency.value", "import dependency"))
    save(project.folder / "dependency.py", "value = 'mine'\n")
    save(project.folder / "app.py", serving("dependency.value", "import dependency"))
    until_served(server, "mine")


def test_a_package_that_cannot_be_imported_by_itself_is_not(project: Project):
    """It wants something that the application has done before; that it failed must not show anywhere."""
    (project.installed / "picky.py").write_text("import dependency\nassert hasattr(dependency, 'prepared')\n")
    before = "import dependency\ndependency.prepared = True\nimport picky"
    server = project.start(serving("'first'", before), waits=False)
    for version in ("second", "third"):
        save(project.folder / "app.py", serving(f"'{version}'", before))
        until_served(server, version)
    assert "Traceback" not in server.log
    assert "did not start" not in server.log


def test_a_package_that_imports_the_users_code_is_not_imported_before_it(project: Project):
    (project.installed / "pluggable.py").write_text("import plugin\nvalue = plugin.value\n")
    (project.folder / "plugin.py").write_text("value = 'old'\n")
    server = project.start(serving("'first ' + pluggable.value", "import pluggable"), waits=False)
    save(project.folder / "plugin.py", "value = 'new'\n")
    save(project.folder / "app.py", serving("pluggable.value", "import pluggable"))
    until_served(server, "new")


def test_a_package_with_threads_and_state_begins_with_the_child_that_serves(project: Project):
    """What waits is the process that will serve: nothing of it is forked."""
    (project.installed / "busy.py").write_text(
        "import os, threading\npid = os.getpid()\n"
        "thread = threading.Thread(target=threading.Event().wait, daemon=True)\nthread.start()\n"
    )
    before = "import os, busy"
    server = project.start(serving("'first'", before))
    save(project.folder / "app.py", serving("busy.pid == os.getpid() and busy.thread.is_alive()", before))
    until_served(server, "True")


def test_packages_that_share_a_namespace_with_the_users_are_both_found(project: Project):
    (project.installed / "shared").mkdir()
    (project.installed / "shared" / "theirs.py").write_text("value = 'theirs'\n")
    (project.folder / "shared").mkdir()
    (project.folder / "shared" / "mine.py").write_text("value = 'old'\n")
    before = "import shared.theirs, shared.mine"
    server = project.start(serving("'first'", before))
    save(project.folder / "shared" / "mine.py", "value = 'mine'\n")
    save(project.folder / "app.py", serving("shared.theirs.value + ' ' + shared.mine.value", before))
    until_served(server, "theirs mine")


def test_a_package_installed_in_place_is_one_of_the_users(project: Project, tmp_path_factory: pytest.TempPathFactory):
    """As `pip install -e` makes it: a .pth file names the folder where the sources lie."""
    sources = tmp_path_factory.mktemp("sources")
    (sources / "editable.py").write_text("value = 'old'\n")
    (project.installed / "editable.pth").write_text(f"{sources}\n")
    app = serving("'first ' + editable.value", "import editable")
    server = project.start(app, "--reload-dir", ".", "--reload-dir", sources)
    save(sources / "editable.py", "value = 'new'\n")
    until_served(server, "first new")


def test_a_changed_env_file_reaches_a_child_that_begins_anew(project: Project):
    (project.folder / ".env").write_text("GREETING=old\n")
    (project.installed / "reader.py").write_text("import os\nvalue = os.environ['GREETING']\n")
    arguments = ("--env-file", ".env", "--reload-include", ".env")
    server = project.start(serving("reader.value", "import reader"), *arguments)
    until_served(server, "old")
    save(project.folder / ".env", "GREETING=new\n")
    until_served(server, "new")


def test_a_child_that_waits_ends_with_the_rest(project: Project):
    server = project.start(serving("'first'", IS_WARM))
    os.killpg(server.pid, signal.SIGINT)
    assert server.wait() == 0
    server.wait_for_descendants(0)
    assert "Traceback" not in server.log
