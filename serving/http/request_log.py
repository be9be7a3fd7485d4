"""Writes lines about requests in the log: one for each request, and one for each that failed; both with its id."""

import logging

from serving.http.request_record import RequestRecord

_requests = logging.getLogger("figment.requests")
_failures = logging.getLogger("figment.http")


def log_request(record: RequestRecord, *, ended: float | None, trace_id: str | None) -> None:
    """Logs how a request went. Every line has the same members; null where there is nothing to tell.

    ``ended`` is in seconds of ``time.monotonic``; ``None`` for what was rejected before there was a request.
    """
    is_generated = record.generated is not None
    _requests.info(
        "%s %s %d",
        record.method or "-",
        record.route,
        record.status,
        extra={
            "members": {
                "id": record.id.decode(),
                "method": record.method,
                "route": record.route,
                "status": record.status,
                "reason": record.reason and record.reason.label,
                "model": record.model,
                "version": record.version,
                "images": record.images,
                "bytes": record.body_bytes,
                "queue_ms": _milliseconds(record.queue_seconds if is_generated else None),
                "inference_ms": _milliseconds(record.inference_seconds if is_generated else None),
                "encode_ms": _milliseconds(record.encode_seconds if is_generated else None),
                "duration_ms": _milliseconds(None if ended is None else ended - record.started),
                "trace_id": trace_id,
            }
        },
    )


def log_failure(message: str, record: RequestRecord, cause: BaseException | None = None) -> None:
    """Logs why a request failed. ``message`` has two places: for the request's id and its route."""
    request_id = record.id.decode()
    _failures.error(message, request_id, record.route, exc_info=cause, extra={"members": {"id": request_id}})


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
