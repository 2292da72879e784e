"""The short way prints what the formatter would, and gives way to whoever has touched logging."""

from __future__ import annotations

import asyncio
import io
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from uvicorn.logging import AccessFormatter
from uvicorn.server.access_log import AccessLog

FORMAT = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'


def scope(path: str = "/", query: bytes = b"", client: Any = ("127.0.0.1", 5), **rest: Any) -> dict[str, Any]:
    return {"client": client, "method": "GET", "path": path, "query_string": query, "http_version": "1.1", **rest}


class Loop:
    """Keeps what is to be called at the end of the turn."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.calls.append(callback)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class Counting(io.StringIO):
    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.Logger("uvicorn.access", logging.INFO)
    logger.propagate = False
    yield logger
    for handler in logger.handlers:
        handler.close()


def add_handler(logger: logging.Logger, stream: Any, colours: bool = False, fmt: str = FORMAT) -> Any:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(AccessFormatter(fmt, use_colors=colours))
    logger.addHandler(handler)
    return handler


SCOPES = [
    scope(),
    scope("/a b/ü?", b"q=1&r=%20"),
    scope("/;%2f", b'"\xff\x1b[0m'),
    scope(client=None),
    scope(client=("::1", 80), method="DELETE", http_version="1.0"),
    scope("/" + "x" * 400),
]


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("status", [101, 200, 204, 302, 404, 500, 599, 799])
def test_prints_the_bytes_that_the_formatter_prints(logger: logging.Logger, colours: bool, status: int) -> None:
    stream = io.StringIO()
    add_handler(logger, stream, colours)
    loop = Loop()
    log = AccessLog(loop, logger)  # type: ignore[arg-type]
    for each in SCOPES:
        log.log(each, status)
    assert stream.getvalue() == "", "nothing is written before the end of the turn"
    loop.turn()
    fast = stream.getvalue()
    stream.truncate(0)
    stream.seek(0)
    for each in SCOPES:
        log._log_record(each, status)
    assert fast == stream.getvalue()
    assert fast.count("\n") == len(SCOPES)


def test_one_turn_is_one_write(logger: logging.Logger) -> None:
    stream = Counting()
    add_handler(logger, stream)
    loop = Loop()
    log = AccessLog(loop, logger)  # type: ignore[arg-type]
    for _ in range(20):
        log.log(scope(), 200)
    assert len(loop.calls) == 1
    loop.turn()
    assert stream.writes == 1


def test_every_handler_gets_the_lines(logger: logging.Logger, tmp_path: Path) -> None:
    stream = io.StringIO()
    add_handler(logger, stream)
    path = tmp_path / "access.log"
    file = logging.FileHandler(path)
    file.setFormatter(AccessFormatter(FORMAT, use_colors=False))
    logger.addHandler(file)
    loop = Loop()
    log = AccessLog(loop, logger)  # type: ignore[arg-type]
    log.log(scope(), 200)
    loop.turn()
    assert path.read_text() == stream.getvalue() == 'INFO:     127.0.0.1:5 - "GET / HTTP/1.1" 200 OK\n'


def test_lines_to_a_pipe_stay_whole(logger: logging.Logger) -> None:
    """Several workers write to one pipe: only PIPE_BUF octets of a write are kept together."""
    reader, writer = os.pipe()
    sizes: list[int] = []

    class Recording(io.TextIOWrapper):
        def write(self, text: str) -> int:
            sizes.append(len(text))
            assert text.endswith("\n")
            return super().write(text)

    with open(reader, "rb") as end, Recording(open(writer, "wb")) as stream:
        add_handler(logger, stream)
        loop = Loop()
        log = AccessLog(loop, logger)  # type: ignore[arg-type]
        for _ in range(200):
            log.log(scope("/some/path"), 200)
        loop.turn()
        assert max(sizes) <= 4096
        assert os.read(end.fileno(), 65536).count(b"\n") == 200


class Subclass(AccessFormatter):
    pass


def _filter_on_logger(logger: logging.Logger, patch: pytest.MonkeyPatch) -> None:
    logger.addFilter(lambda record: True)


def _filter_on_handler(logger: logging.Logger, patch: pytest.MonkeyPatch) -> None:
    logger.handlers[0].addFilter(lambda record: True)


def _other_formatter(logger: logging.Logger, patch: pytest.MonkeyPatch) -> None:
    logger.handlers[0].setFormatter(Subclass(FORMAT, use_colors=False))


def _other_format(logger: logging.Logger, patch: pytest.MonkeyPatch) -> None:
    logger.handlers[0].setFormatter(AccessFormatter("%(asctime)s %(message)s"))


def _other_handler(logger: logging.Logger, patch: pytest.MonkeyPatch) -> None:
    logger.addHandler(logging.NullHandler())


def _patched_class(logger: logging.Logger, patch: pytest.MonkeyPatch) -> None:
    original = logging.Logger.callHandlers

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        original(self, record)

    patch.setattr(logging.Logger, "callHandlers", call_handlers)


def _patched_instance(logger: logging.Logger, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(logger, "handle", logger.handle)


def _patched_emit(logger: logging.Logger, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(logger.handlers[0], "emit", logger.handlers[0].emit)


def _record_factory(logger: logging.Logger, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(logging, "_logRecordFactory", lambda *args, **kwargs: logging.LogRecord(*args, **kwargs))


def _propagation(logger: logging.Logger, patch: pytest.MonkeyPatch) -> None:
    parent = logging.Logger("parent")
    parent.addHandler(logging.NullHandler())
    logger.parent = parent
    logger.propagate = True


@pytest.mark.parametrize(
    "touch",
    [
        _filter_on_logger,
        _filter_on_handler,
        _other_formatter,
        _other_format,
        _other_handler,
        _patched_class,
        _patched_instance,
        _patched_emit,
        _record_factory,
        _propagation,
    ],
)
def test_whoever_touches_logging_gets_records_from_the_next_turn(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, touch: Callable[..., None]
) -> None:
    stream = io.StringIO()
    add_handler(logger, stream)
    loop = Loop()
    log = AccessLog(loop, logger)  # type: ignore[arg-type]
    log.log(scope(), 200)
    loop.turn()
    records: list[Any] = []
    monkeypatch.setattr(log, "_log_record", lambda scope, status: records.append(status))
    touch(logger, monkeypatch)
    log.log(scope(), 201)
    assert records == [201]
    assert not loop.calls


def test_records_have_the_five_arguments(logger: logging.Logger) -> None:
    seen: list[Any] = []

    def keep(record: logging.LogRecord) -> bool:
        seen.append(record.args)
        return True

    logger.addFilter(keep)
    add_handler(logger, io.StringIO())
    AccessLog(Loop(), logger).log(scope("/a b", b"q"), 404)  # type: ignore[arg-type]
    assert seen == [("127.0.0.1:5", "GET", "/a%20b?q", "1.1", 404)]


def test_level_above_info_prints_nothing(logger: logging.Logger) -> None:
    stream = io.StringIO()
    add_handler(logger, stream)
    logger.setLevel(logging.WARNING)
    loop = Loop()
    AccessLog(loop, logger).log(scope(), 200)  # type: ignore[arg-type]
    loop.turn()
    assert stream.getvalue() == ""


def test_broken_stream_is_told_as_the_handler_tells_it(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    add_handler(logger, Broken())
    loop = Loop()
    AccessLog(loop, logger).log(scope(), 200)  # type: ignore[arg-type]
    loop.turn()
    assert "--- Logging error ---" in capsys.readouterr().err


def test_table_of_paths_is_bounded(logger: logging.Logger) -> None:
    add_handler(logger, io.StringIO())
    loop = Loop()
    log = AccessLog(loop, logger)  # type: ignore[arg-type]
    for number in range(5000):
        log.log(scope(f"/{number}"), 200)
    assert len(log._paths) <= 2048


def test_lines_leave_at_the_end_of_the_turn_in_a_real_loop(logger: logging.Logger) -> None:
    stream = io.StringIO()
    add_handler(logger, stream)

    async def main() -> None:
        AccessLog(asyncio.get_running_loop(), logger).log(scope(), 200)
        await asyncio.sleep(0)
        assert stream.getvalue().endswith("200 OK\n")

    asyncio.run(main())
