"""Log files that were moved away."""

import logging

import pytest

from uvicorn.manager import logs


@pytest.fixture
def handler(tmp_path):
    logger = logging.getLogger("tests.reopen")
    (tmp_path / "log").mkdir()
    handler = logging.FileHandler(tmp_path / "log" / "web.log")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    handler.close()


def test_a_file_that_was_moved_is_made_anew(handler, tmp_path):
    (tmp_path / "log" / "web.log").rename(tmp_path / "log" / "web.log.1")
    assert logs.reopen() >= 1
    logging.getLogger("tests.reopen").error("one")
    assert (tmp_path / "log" / "web.log").read_text() == "one\n"


def test_a_file_that_cannot_be_opened_is_told_and_the_old_one_written_to(handler, tmp_path, caplog):
    (tmp_path / "log").rename(tmp_path / "old")
    logs.reopen()
    assert "Cannot open a log file again: [Errno 2] No such file or directory: " in caplog.text
    logging.getLogger("tests.reopen").error("two")
    assert (tmp_path / "old" / "web.log").read_text() == "two\n"
