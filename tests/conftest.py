"""Fixtures for every test: started servers, certificates."""

from __future__ import annotations

import logging
import os
import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.processes import Running, free_port

# What clients and interpreters would follow, here and in every command that a test starts.
for name in list(os.environ):
    if name.lower().endswith("_proxy") or name in ("FORCE_COLOR", "PYTHON_COLORS"):
        del os.environ[name]

# What is ignored here, as under nohup or behind a shell's &, every command that is started would ignore too, and a test
# would wait for what SIGHUP does. One that is caught is the default again after an exec, and does nothing here either.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda number, frame: None)

# The same examples in every run, however slow the machine: what passes here passes elsewhere. A search for new ones is
# `make test ARGS="--hypothesis-profile=default tests/server"`.
settings.register_profile(
    "suite", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

HELLO = """\
async def app(scope, receive, send):
    assert scope["type"] == "http", scope["type"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"13")]})
    await send({"type": "http.response.body", "body": b"Hello, world!"})
"""
"""What is served when a test names nothing else. It refuses lifespan and WebSockets, as a plain app may."""

_LOGGERS = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")]


@pytest.fixture(autouse=True)
def pristine_logging() -> Iterator[None]:
    """Leave the loggers as an import does: every `Config` of a test configures them, for the whole process."""
    yield
    for one in _LOGGERS:
        one.handlers, one.filters, one.propagate, one.disabled = [], [], True, False
        one.setLevel(logging.NOTSET)


LISTENS = ("--port", "--uds", "--fd", "--bind")


@pytest.fixture
def uvicorn(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start servers; whatever they started is gone when the test ends.

    `start(*args, app=SOURCE, ready=PATTERN, **kw)`: writes the source to app.py and serves `app:app`, unless the first
    argument is a target itself; gives it a port unless the arguments or the environment say where to listen; waits for
    the pattern in its log (None: does not wait). `kw` goes to `Running`; `cwd` is `tmp_path`.
    """
    with ExitStack() as running:

        def start(*args: Any, app: str | None = None, ready: str | None = "Uvicorn running on", **kw: Any) -> Running:
            arguments = [str(arg) for arg in args]
            if app is not None or not arguments or arguments[0].startswith("-"):
                (tmp_path / "app.py").write_text(HELLO if app is None else app)
                arguments.insert(0, "app:app")
            named = any(arg.partition("=")[0] in LISTENS for arg in arguments)
            if not named and not any(f"UVICORN_{option[2:].upper()}" in kw.get("env", {}) for option in LISTENS):
                arguments += ["--port", str(free_port())]
            server = running.enter_context(Running(*arguments, **{"cwd": tmp_path, **kw}))
            if ready is not None:
                server.wait_for(ready)
            return server

        yield start


@dataclass(frozen=True)
class Certificates:
    """Files for `--ssl-*` and the context of a client that trusts them; the server is `localhost` and 127.0.0.1."""

    key: Path
    certificate: Path
    authority: Path
    client_certificate: Path
    """Certificate and key of a client, signed by the same authority."""

    def context(self, *, client: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority))
        if client:
            context.load_cert_chain(self.client_certificate)
        return context

    @property
    def options(self) -> list[str]:
        return ["--ssl-keyfile", str(self.key), "--ssl-certfile", str(self.certificate)]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    trustme = pytest.importorskip("trustme")
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1", "::1")
    files = Certificates(folder / "key.pem", folder / "cert.pem", folder / "ca.pem", folder / "client.pem")
    issued.private_key_pem.write_to_path(str(files.key))
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(str(files.certificate), append=number > 0)
    authority.cert_pem.write_to_path(str(files.authority))
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(
        str(files.client_certificate)
    )
    return files
