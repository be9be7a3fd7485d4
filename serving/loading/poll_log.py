"""Records the outcome of each poll of the source of bundles: for the log, /readyz and the metrics."""

import logging
import time
from datetime import UTC, datetime

from serving.metrics import Metrics

logger = logging.getLogger("figment.catalogue")


class PollLog:
    """Records every poll. Of consecutive failures of one kind, only the first is logged."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._error: str | None = None
        self._error_kind: tuple[type[Exception], object] | None = None
        self._failing_since = self._last_success = ""

    def record_success(self) -> None:
        """Records a completed poll."""
        if self._error is not None:
            logger.info("The bundles can be read again")
        self._error = self._error_kind = None
        self._last_success = _now()
        self._metrics.reload_success.set(time.time())

    def record_failure(self, reason: str, error: Exception) -> None:
        """Records a poll that raised ``error``; ``reason`` is the sentence for it."""
        self._metrics.reload_failures.inc()
        if self._error is None:
            self._failing_since = _now()
        kind = (type(error), getattr(error, "errno", None))
        if kind != self._error_kind:
            logger.error("%s", reason, exc_info=None if isinstance(error, OSError) else error)
        self._error, self._error_kind = reason, kind

    def status(self) -> dict[str, str]:
        """Returns the member ``reload`` of /readyz. All times are in UTC, in ISO 8601."""
        status = {"status": "watching"} if self._error is None else {"status": "failing"}
        if self._last_success:
            status["succeeded"] = self._last_success
        if self._error is not None:
            status |= {"error": self._error, "since": self._failing_since}
        return status


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
