"""Every log line has a UTC time, Figment's and BentoML's, whatever the machine's time zone."""

import json
import logging
import logging.config
import re
import time

import pytest
from bentoml._internal.log import SERVER_LOGGING_CONFIG

from serving.process.logs import FRAMEWORK_LOGGERS, configure_logging

NOON = 1_767_268_800.25  # 2026-01-01 12:00:00.250 UTC


@pytest.fixture
def tokyo(monkeypatch):
    """A machine nine hours ahead of UTC, with the logging of a BentoML worker; restored afterwards."""
    names = (*FRAMEWORK_LOGGERS, "figment")
    loggers = [logging.getLogger(name) for name in names]
    before = [([*logger.handlers], logger.level, logger.propagate) for logger in loggers]
    formatters = [(handler, handler.formatter) for logger in loggers for handler in logger.handlers]
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    logging.config.dictConfig(SERVER_LOGGING_CONFIG | {"disable_existing_loggers": False})
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    for handler, formatter in formatters:  # pytest's own, too, which outlive the test
        handler.setFormatter(formatter)
    monkeypatch.undo()
    time.tzset()


def formatted_by(name):
    """Returns a record of noon, as the logger of this name formats it."""
    record = logging.LogRecord(name, logging.WARNING, __file__, 1, "hello %s", ("you",), None)
    record.created, record.msecs = NOON, 250.0
    handler = logging.getLogger(name).handlers[0]
    assert handler.filter(record)
    return handler.format(record)


def test_text_lines_have_utc_times(tokyo):
    configure_logging("text")
    assert formatted_by("figment") == "2026-01-01T12:00:00.250+00:00 WARNING figment: hello you"
    for name in FRAMEWORK_LOGGERS:
        assert re.fullmatch(r"2026-01-01T12:00:00\+0000 \[WARNING\] .*hello you", formatted_by(name)), name


def test_json_lines_have_utc_times(tokyo):
    configure_logging("json")
    for name in ("figment", *FRAMEWORK_LOGGERS):
        line = json.loads(formatted_by(name))
        assert (line["time"], line["message"]) == ("2026-01-01T12:00:00.250+00:00", "hello you")
