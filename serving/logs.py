"""The log: text for people, or one JSON object a line for machines. Every time in it is UTC."""

import json
import logging
import sys
import time
from datetime import UTC, datetime

from serving.settings import LogFormat

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

# Whose lines go through BentoML's own handlers in a worker.
_FRAMEWORK = ("", "bentoml", "uvicorn.error", "circus")


def _utc(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class TextFormatter(logging.Formatter):
    """A record as a line of text, which its time (UTC) begins."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802  (logging's name)
        """The time, with its offset: machines in several zones write one log."""
        return _utc(record)


class JsonFormatter(logging.Formatter):
    """A record as a JSON object: time (UTC), level, logger, message, and the traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The object, in one line."""
        line = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure_logging(log_format: LogFormat) -> None:
    """Sends the service's log to standard error, and gives BentoML's lines the same form, or at least its times."""
    formatter = JsonFormatter() if log_format == "json" else TextFormatter(_TEXT)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    own = logging.getLogger("figment")
    own.handlers = [handler]
    own.setLevel(logging.INFO)
    own.propagate = False
    for name in _FRAMEWORK:
        for framework_handler in logging.getLogger(name).handlers:
            if log_format == "json":
                framework_handler.setFormatter(formatter)
            elif framework_handler.formatter is not None:
                # Their text has a trace's ids, and an offset after each time, which follows.
                framework_handler.formatter.converter = time.gmtime
