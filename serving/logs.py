"""The log: text for people, or one JSON object a line for machines."""

import json
import logging
import sys
from datetime import UTC, datetime

from serving.settings import LogFormat

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

# Whose lines go through BentoML's own handlers in a worker.
_FRAMEWORK = ("", "bentoml", "uvicorn.error")


class JsonFormatter(logging.Formatter):
    """A record as a JSON object: time (UTC), level, logger, message, and the traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The object, in one line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure_logging(log_format: LogFormat) -> None:
    """Sends the service's log to standard error, and gives BentoML's lines the same form."""
    formatter = JsonFormatter() if log_format == "json" else logging.Formatter(_TEXT)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    own = logging.getLogger("figment")
    own.handlers = [handler]
    own.setLevel(logging.INFO)
    own.propagate = False
    if log_format == "json":
        for name in _FRAMEWORK:
            for framework_handler in logging.getLogger(name).handlers:
                framework_handler.setFormatter(formatter)
