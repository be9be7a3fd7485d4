"""A request between the event loop and a scheduler's threads, and how it ends: with a result or an error."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from serving.errors import ApiError, ErrorCode, client_gone, retry_later
from serving.inference.batching import QueuedRequest
from serving.inference.engine import Images, Inputs


@dataclass(slots=True)
class InferenceResult:
    """A request's images, uint8 [N, H, W, C], its seconds in the queue and on the device, and its finishing time.

    ``finished`` is on the clock of ``time.monotonic``.
    """

    images: Images
    queue_seconds: float
    inference_seconds: float
    finished: float


@dataclass(eq=False)
class PendingRequest(QueuedRequest):
    """A request that a ``Scheduler`` has accepted, and that has no result yet."""

    inputs: Inputs
    postprocess: Callable[[InferenceResult], Any] | None
    future: asyncio.Future[Any]
    submitted: float
    generated: Images | None = field(default=None, init=False)
    """The images so far, if several batches share the request."""
    generated_count: int = field(default=0, init=False)
    dropped: bool = field(default=False, init=False)
    drop_reason: str | None = field(default=None, init=False)
    queue_seconds: float = field(default=0.0, init=False)
    inference_seconds: float = field(default=0.0, init=False)


# A request that has ended, with its result or its error.
Outcome = tuple[PendingRequest, InferenceResult | ApiError]


def resolve_futures(outcomes: list[Outcome]) -> None:
    """Sets the futures of requests to their results or errors. Call it on the event loop."""
    for request, outcome in outcomes:
        # The request may have been dropped while the device ran it.
        if request.future.done():
            continue
        if isinstance(outcome, InferenceResult):
            request.future.set_result(outcome)
        else:
            request.future.set_exception(outcome)


def drop_error(reason: str) -> ApiError:
    """Returns the error of a dropped request. ``reason`` is the label of the metric for dropped images."""
    if reason == "deadline":
        return ApiError(ErrorCode.DEADLINE, "The images were not generated before the request's deadline.")
    if reason == "disconnected":
        return client_gone()
    return retry_later(ErrorCode.UNAVAILABLE, "The service is shutting down.", 1)
