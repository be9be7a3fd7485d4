"""One log has one clock: every line's time is UTC, whatever the machine's zone, ours and BentoML's."""

import json
import logging
import logging.config
import re
import time

import pytest
from bentoml._internal.log import SERVER_LOGGING_CONFIG

from serving.process.logs import configure_logging

NOON = 1_767_268_800.25  # 2026-01-01 12:00:00.250 UTC


@pytest.fixture
def tokyo(monkeypatch):
    """A machine nine hours ahead, with BentoML's logging as it is in a worker, put back afterwards."""
    names = ("", "bentoml", "uvicorn.error", "circus", "figment")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    logging.config.dictConfig(SERVER_LOGGING_CONFIG | {"disable_existing_loggers": False})
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    monkeypatch.undo()
    time.tzset()


def line_of(name):
    """A record of noon, as the logger of this name writes it."""
    record = logging.LogRecord(name, logging.WARNING, __file__, 1, "hello %s", ("you",), None)
    record.created, record.msecs = NOON, 250.0
    handler = logging.getLogger(name).handlers[0]
    assert handler.filter(record)
    return handler.format(record)


def test_text(tokyo):
    configure_logging("text")
    assert line_of("figment") == "2026-01-01T12:00:00.250+00:00 WARNING figment: hello you"
    for name in ("", "bentoml", "uvicorn.error", "circus"):
        assert re.fullmatch(r"2026-01-01T12:00:00\+0000 \[WARNING\] .*hello you", line_of(name)), name


def test_json(tokyo):
    configure_logging("json")
    for name in ("figment", "", "bentoml", "uvicorn.error", "circus"):
        line = json.loads(line_of(name))
        assert (line["time"], line["message"]) == ("2026-01-01T12:00:00.250+00:00", "hello you")
