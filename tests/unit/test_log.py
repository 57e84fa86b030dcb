"""Lines are whole, in order, and none is lost at the end; what libraries log looks like the rest."""

import asyncio
import io
import json
import logging
from typing import Any

import pytest

from registry_proxy.errors import NixCacheUnavailable
from registry_proxy.log import REQUEST_ID, Log, LoggingHandler


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_wait_and_an_event_does_not() -> None:
    stream = io.StringIO()

    async def test() -> None:
        log = Log(stream)
        log.line('{"event": "first"}\n')
        log.line('{"event": "second"}\n')
        assert stream.getvalue() == ""
        log.event("third", port=1)

    asyncio.run(test())
    assert [event["event"] for event in events(stream)] == ["first", "second", "third"]


def test_lines_are_written_a_moment_later_without_being_asked() -> None:
    written = asyncio.Event()

    class Stream(io.StringIO):
        def flush(self) -> None:
            written.set()

    stream = Stream()

    async def test() -> None:
        log = Log(stream)
        log.line('{"event": "first"}\n')
        await asyncio.wait_for(written.wait(), 20)
        written.clear()
        log.line('{"event": "second"}\n')
        await asyncio.wait_for(written.wait(), 20)

    asyncio.run(test())
    assert [event["event"] for event in events(stream)] == ["first", "second"]


def test_many_lines_do_not_wait() -> None:
    stream = io.StringIO()

    async def test() -> None:
        log = Log(stream)
        for _ in range(2500):
            log.line('{"event": "line"}\n')
        assert len(events(stream)) == 2000
        log.flush()

    asyncio.run(test())
    assert len(events(stream)) == 2500


@pytest.fixture
def logger() -> logging.Logger:
    """A logger that nobody else knows."""
    return logging.Logger("library")


def test_what_libraries_log_is_an_event(logger: logging.Logger) -> None:
    stream = io.StringIO()
    logger.addHandler(LoggingHandler(Log(stream)))
    logger.warning("%d connections\nlost", 3)
    (event,) = events(stream)
    assert (event["event"], event["logger"], event["message"]) == ("warning", "library", "3 connections\nlost")
    assert "request_id" not in event


def test_a_mistake_has_its_traceback_and_its_request(logger: logging.Logger) -> None:
    stream = io.StringIO()
    logger.addHandler(LoggingHandler(Log(stream)))
    token = REQUEST_ID.set("abc")
    try:
        raise LookupError("no such thing")
    except LookupError:
        logger.exception("went wrong")
    finally:
        REQUEST_ID.reset(token)
    (event,) = events(stream)
    assert (event["event"], event["request_id"]) == ("error", "abc")
    assert event["traceback"].startswith("Traceback")
    assert event["traceback"].endswith("LookupError: no such thing\n")


def test_an_answer_that_an_upstream_broke_off_is_one_sentence(logger: logging.Logger) -> None:
    stream = io.StringIO()
    logger.addHandler(LoggingHandler(Log(stream)))
    try:
        raise RuntimeError("response already started") from NixCacheUnavailable("the cache went away")
    except RuntimeError:
        logger.exception("Exception in ASGI application")
    (event,) = events(stream)
    assert (event["event"], event["message"]) == ("warning", "an answer was broken off: the cache went away")
    assert "traceback" not in event
