"""A request in the hands of a device's threads, and what comes of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from serving.errors import ApiError, ErrorCode, retry_later
from serving.inference.batching import Entry
from serving.inference.engine import Images, Inputs


@dataclass(slots=True)
class InferenceResult:
    """A request's images, uint8 [N, H, W, C], the seconds that they waited and took, and when they were there."""

    images: Images
    queue_seconds: float
    inference_seconds: float
    finished: float


@dataclass(eq=False)
class PendingRequest(Entry):
    """A request in the hands of a ``Scheduler``."""

    inputs: Inputs
    finish: Callable[[InferenceResult], Any] | None
    future: asyncio.Future[Any]
    submitted: float
    images_made: Images | None = field(default=None, init=False)
    made: int = field(default=0, init=False)
    given_up: bool = field(default=False, init=False)
    reason: str | None = field(default=None, init=False)
    queue_seconds: float = field(default=0.0, init=False)
    inference_seconds: float = field(default=0.0, init=False)


# A finished request: its images, or why there are none.
Outcome = tuple[PendingRequest, InferenceResult | ApiError]


def deliver(outcomes: list[Outcome]) -> None:
    """Tells whoever waits; on the event loop."""
    for ticket, outcome in outcomes:
        # It may have been given up while the device worked on it.
        if ticket.future.done():
            continue
        if isinstance(outcome, InferenceResult):
            ticket.future.set_result(outcome)
        else:
            ticket.future.set_exception(outcome)


def too_late(reason: str) -> ApiError:
    """The refusal of what was given up, by the reason that the metrics have for it."""
    if reason == "deadline":
        return ApiError(ErrorCode.DEADLINE, "The images were not made before the request's deadline.")
    if reason == "disconnected":
        return ApiError(ErrorCode.DISCONNECTED, "The client has gone.")
    return retry_later(ErrorCode.UNAVAILABLE, "The service is shutting down.", 1)
