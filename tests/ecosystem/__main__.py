"""Other packages with this uvicorn in place of upstream's, each started as its documentation says.

    python -m tests.ecosystem                    all of them, one after the other
    python -m tests.ecosystem fastapi litestar   those whose name contains one of these words
    python -m tests.ecosystem --keep             take the environments of an earlier run, with the checkout as it is now

Each is started twice, spoken to, and stopped: by Ctrl-C (SIGINT to the whole group) and by SIGTERM. It must end by
itself, with a clean exit status and no traceback, and leave no process behind. The environments are made in
UVICORN_ECOSYSTEM, or tests/ecosystem/.environments.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.building import build, copy_checkout
from tests.support.processes import Running, free_port

from .cases import CASES, Case
from .questions import open_stream

FOLDER = Path(os.environ.get("UVICORN_ECOSYSTEM", Path(__file__).parent / ".environments"))
STARTING = 120  # seconds until the first answer: some import for half a minute
STOPPING = 30


def environment(requirements: list[str], wheel: Path, *, keep: bool) -> Path:
    """Make a virtual environment with these packages and our wheel; return its bin folder."""
    folder = FOLDER / re.sub(r"\W+", "-", "-".join(requirements))
    if folder.exists() and not keep:
        shutil.rmtree(folder)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not folder.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([*pip, *requirements, "uvloop", "httptools", "watchfiles"], check=True)
    subprocess.run([*pip, f"uvicorn @ {wheel.as_uri()}"], check=True)
    subprocess.run([*pip, "--force-reinstall", "--no-deps", str(wheel)], check=True)
    return folder / "bin"


def wait_for_answer(server: Running, case: Case, port: int) -> None:
    deadline = time.monotonic() + STARTING
    while True:
        assert server.process.poll() is None, f"ended with {server.process.returncode} before it served\n{server.log}"
        try:
            case.questions[0](port)
        except (OSError, AssertionError) as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"{error} after {STARTING} s\n{server.log}") from None
            time.sleep(0.1)
        else:
            return


def play(case: Case, programs: Path, stop: str) -> None:
    """Start it, speak to it, stop it. AssertionError with the log if something is not as it should be."""
    with TemporaryDirectory(prefix="ecosystem-") as name, ExitStack() as stack:
        folder = Path(name)
        for file, source in case.files.items():
            (folder / file).write_text(source)
        port = free_port()
        program, *arguments = case.command(port)
        variables = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(programs.parent)}
        variables |= {"HOME": name, "PYTHONUNBUFFERED": "1", **case.environment}
        server = stack.enter_context(Running(*arguments, command=[str(programs / program)], cwd=folder, env=variables))
        wait_for_answer(server, case, port)
        for question in case.questions:
            question(port)
        if case.started is not None:
            server.wait_for(case.started, timeout=STARTING)
        if case.open_stream is not None:
            stack.enter_context(open_stream(port, case.open_stream))
        if stop == "SIGINT" or case.to_the_group:
            os.killpg(server.pid, signal.Signals[stop])
        else:
            server.signal(signal.SIGTERM)
        status = server.wait(STOPPING)
        assert status in case.exits[stop], f"exit status {status} after {stop}\n{server.log}"
        tracebacks = server.log.split("Traceback (most recent call last)")[1:]
        ours = [text for text in tracebacks if not re.search(case.errors_of_its_own or "(?!)", text)]
        assert not ours, f"a traceback\n{server.log}"
        assert not server.close()  # kills and names what has outlived it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("words", nargs="*", help="only cases whose name contains one of these")
    parser.add_argument("--keep", action="store_true", help="take the environments of an earlier run")
    args = parser.parse_args()
    # A shell has it ignored in what it starts in the background, and all that we start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    wanted = [case for case in CASES if not args.words or any(word in case.name for word in args.words)]
    rows, failures = [], []
    with TemporaryDirectory(prefix="ecosystem-wheel-") as folder:
        wheel = build("build_wheel", copy_checkout(Path(folder, "checkout")), Path(folder, "wheel"))
        made: set[str] = set()
        for case in wanted:
            known = str(case.requirements)
            cells = [case.name]
            try:
                programs = environment(list(case.requirements), wheel, keep=args.keep or known in made)
            except subprocess.CalledProcessError as error:
                failures.append(f"{case.name}: cannot be installed: {error}")
                rows.append([case.name, "not installed", ""])
                continue
            made.add(known)
            for stop in ("SIGINT", "SIGTERM"):
                began = time.monotonic()
                try:
                    play(case, programs, stop)
                except (AssertionError, OSError) as error:
                    failures.append(f"{case.name}, {stop}: {error}")
                    cells.append("FAILED")
                else:
                    cells.append(f"ok, {time.monotonic() - began:.0f} s")
            rows.append(cells)
            print(" | ".join(cells), flush=True)
    width = max(len(row[0]) for row in rows) if rows else 0
    print(f"\n{'package':{width}}  {'Ctrl-C':14} SIGTERM")
    for name, *cells in rows:
        print(f"{name:{width}}  {cells[0]:14} {cells[1]}")
    for failure in failures:
        print(f"\n--- {failure}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
