"""How the looks into the folder of bundles went: for the log, /readyz and the metrics."""

import logging
import time
from datetime import UTC, datetime

from serving.metrics import Metrics

logger = logging.getLogger("figment.catalogue")


class PollLog:
    """Records each look; logs the first of several failures of one kind."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._error: str | None = None
        self._kind: tuple[type[Exception], object] | None = None
        self._since = self._succeeded = ""

    def succeeded(self) -> None:
        """Records a look that was completed."""
        if self._error is not None:
            logger.info("The folder of bundles can be read again")
        self._error = self._kind = None
        self._succeeded = _now()
        self._metrics.reload_success.set(time.time())

    def failed(self, reason: str, error: Exception) -> None:
        """Records a look that ended with ``error``; ``reason`` is the sentence for it."""
        self._metrics.reload_failures.inc()
        if self._error is None:
            self._since = _now()
        kind = (type(error), getattr(error, "errno", None))
        if kind != self._kind:
            logger.error("%s", reason, exc_info=None if isinstance(error, OSError) else error)
        self._error, self._kind = reason, kind

    def status(self) -> dict[str, str]:
        """The member ``reload`` of /readyz. All times are in UTC, in ISO 8601."""
        status = {"status": "watching"} if self._error is None else {"status": "failing"}
        if self._succeeded:
            status["succeeded"] = self._succeeded
        if self._error is not None:
            status |= {"error": self._error, "since": self._since}
        return status


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
