"""Formats the log: text for people, or one JSON object per line for machines. Every time is UTC."""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

from serving.config.settings import LogFormat

# `json.dumps` would create an encoder for every line.
_encode = json.JSONEncoder(ensure_ascii=False).encode

_TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

FRAMEWORK_LOGGERS = ("", "bentoml", "uvicorn.error", "circus")
"""The loggers whose lines go through BentoML's own handlers in a worker."""


def _utc_time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class TextFormatter(logging.Formatter):
    """Formats a record as a line of text: time (UTC), level, logger, message."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802  (logging's name)
        """Returns the time in ISO 8601 with its offset."""
        return _utc_time(record)


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object: time (UTC), level, logger, message, and the traceback of an exception.

    A record's ``members`` (``extra={"members": {…}}``) are added to the object.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Returns the object in one line."""
        line: dict[str, Any] = {
            "time": _utc_time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if members := getattr(record, "members", None):
            line |= members
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


def configure_logging(log_format: LogFormat) -> None:
    """Sends the service's log to standard error, and gives BentoML's lines the same form (JSON) or times (text)."""
    formatter = JsonFormatter() if log_format == "json" else TextFormatter(_TEXT_FORMAT)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    own = logging.getLogger("figment")
    own.handlers = [handler]
    own.setLevel(logging.INFO)
    own.propagate = False
    for name in FRAMEWORK_LOGGERS:
        for framework_handler in logging.getLogger(name).handlers:
            if log_format == "json":
                framework_handler.setFormatter(formatter)
            elif framework_handler.formatter is not None:
                # BentoML's format is kept: it has trace ids. It writes the offset after each time.
                framework_handler.formatter.converter = time.gmtime
