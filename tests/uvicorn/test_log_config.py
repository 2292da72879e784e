"""Every log record knows the number of its worker."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator

import pytest

from uvicorn import Config, log_config
from uvicorn.logging import AccessFormatter
from uvicorn.server.access_log import AccessLog


@pytest.fixture(autouse=True)
def plain_records() -> Iterator[None]:
    logging.setLogRecordFactory(logging.LogRecord)
    yield
    logging.setLogRecordFactory(logging.LogRecord)
    log_config.worker = "-"


def test_a_config_gives_all_records_the_attribute_whatever_logger_they_are_of():
    Config("app:app")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(worker)s %(message)s"))
    logger = logging.Logger("shop")
    logger.addHandler(handler)
    logger.warning("one")
    log_config.worker = "3"
    logger.warning("two")
    assert stream.getvalue() == "- one\n3 two\n"


def test_many_configs_make_one_factory():
    Config("app:app")
    factory = logging.getLogRecordFactory()
    Config("app:app")
    assert logging.getLogRecordFactory() is factory


def test_a_factory_of_the_application_is_asked_and_stays_in_place():
    def tagging(*args, **kwargs):
        record = logging.LogRecord(*args, **kwargs)
        record.tag = "theirs"
        return record

    logging.setLogRecordFactory(tagging)
    log_config.number_records()
    record = logging.makeLogRecord({})
    assert (record.tag, record.worker) == ("theirs", "-")
    assert not log_config.makes_plain_records(logging.getLogRecordFactory())


def test_one_that_wraps_ours_does_not_run_in_circles():
    log_config.number_records()
    ours = logging.getLogRecordFactory()
    logging.setLogRecordFactory(lambda *args, **kwargs: ours(*args, **kwargs))
    log_config.number_records()
    assert logging.makeLogRecord({}).worker == "-"


def test_access_lines_still_go_the_short_way():
    log_config.number_records()
    logger = logging.Logger("uvicorn.access", logging.INFO)
    logger.propagate = False
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(
        AccessFormatter('%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s', use_colors=False)
    )
    logger.addHandler(handler)
    loop = asyncio.new_event_loop()
    try:
        assert AccessLog(loop, logger)._is_default()
        handler.setFormatter(AccessFormatter("%(worker)s %(message)s", use_colors=False))
        assert not AccessLog(loop, logger)._is_default()
    finally:
        loop.close()
