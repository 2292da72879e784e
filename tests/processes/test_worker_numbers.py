"""%(worker)s in a log format: the number of a worker, `master`, or `-` where there are no workers."""

from __future__ import annotations

import json

from tests.processes.helpers import DEADLINE, get

CONFIG = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "<%(worker)s> %(message)s"},
        "access": {"()": "uvicorn.logging.AccessFormatter", "fmt": "<%(worker)s> %(request_line)s"},
    },
    "handlers": {
        "plain": {"class": "logging.StreamHandler", "formatter": "plain"},
        "access": {"class": "logging.StreamHandler", "formatter": "access"},
    },
    "root": {"handlers": ["plain"], "level": "INFO"},
    "loggers": {"uvicorn.access": {"handlers": ["access"], "propagate": False}},
}
APP = """\
import logging

async def app(scope, receive, send):
    assert scope["type"] == "http"
    logging.getLogger("shop").info("sold")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def test_records_of_workers_have_their_number(uvicorn, tmp_path):
    (tmp_path / "log.json").write_text(json.dumps(CONFIG))
    server = uvicorn("--workers", "2", "--log-config", "log.json", app=APP, ready="<master> Uvicorn running on")
    server.wait_for("<1> Application startup complete|<1> ASGI 'lifespan' protocol", DEADLINE)
    server.wait_for("<2> Application startup complete|<2> ASGI 'lifespan' protocol", DEADLINE)
    get(server, "/")
    server.wait_for(r"<[12]> sold", DEADLINE)
    server.wait_for(r"<[12]> GET / HTTP/1.1", DEADLINE)
    assert server.stop(DEADLINE) == 0
    assert "KeyError" not in server.log


def test_a_single_process_has_a_dash(uvicorn, tmp_path):
    (tmp_path / "log.json").write_text(json.dumps(CONFIG))
    server = uvicorn("--log-config", "log.json", app=APP, ready="<-> Uvicorn running on")
    get(server, "/")
    server.wait_for("<-> sold", DEADLINE)
    server.wait_for("<-> GET / HTTP/1.1", DEADLINE)
    assert "KeyError" not in server.log
