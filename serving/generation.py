"""The steps that every route for images shares: find the engine, check the limits, run the device."""

import asyncio
from collections.abc import Callable
from typing import Any

from serving.errors import ApiError, ErrorCode
from serving.http.request_record import RequestRecord
from serving.inference.engine import Engine, Inputs
from serving.inference.pending import InferenceResult
from serving.runtime import Runtime

# Up to these sizes, the work takes less time than handing it to a thread.
SMALL_BODY_BYTES = 16 * 1024
SMALL_IMAGES = 8


def find_engine(runtime: Runtime, record: RequestRecord, model: str | None, version: int | None) -> Engine:
    """Returns the engine of a model, by default of the default model's newest version.

    Raises ``ApiError`` if there is no such model or version.
    """
    engine = runtime.registry.find(model, version)
    record.model, record.version = engine.card.name, engine.card.version
    return engine


def check_fits(runtime: Runtime, record: RequestRecord, engine: Engine, images: int) -> None:
    """Raises ``ApiError`` for more pixels than one request may ask for, or if the queue has no room.

    Every route calls this before it draws noise: under load, noise for rejected requests delays the others.
    """
    record.images = images
    image = engine.card.image
    # The limit bounds memory, and keeps ZIP archives below 4 GiB: it counts pixels of three bytes.
    most = runtime.settings.max_pixels * 3 // max(3, image.channels)
    if images * image.height * image.width > most:
        raise ApiError(
            ErrorCode.TOO_LARGE,
            f"{images} images of {image.width} × {image.height} are more than the {most} pixels that one request "
            "may ask for.",
        )
    runtime.scheduler_for(engine).ensure_capacity(images)


async def run(
    runtime: Runtime,
    record: RequestRecord,
    engine: Engine,
    inputs: Inputs,
    finish: Callable[[InferenceResult], Any] | None = None,
) -> Any:
    """Generates the images of ``inputs``, and returns them, or the value of ``finish`` from an encoder thread.

    Raises ``ApiError``. Cancellation drops the request's waiting images.
    """
    scheduler = runtime.scheduler_for(engine)
    pending = scheduler.submit(inputs, finish)
    record.submitted = pending.submitted
    try:
        return await pending.future
    except asyncio.CancelledError:
        scheduler.drop(pending, "disconnected")
        raise


def record_generation(
    record: RequestRecord, result: InferenceResult, encode_seconds: float, seeds: list[int] | None
) -> None:
    """Records how long each stage took, and the seeds: ``None`` if the client sent noise."""
    record.queue_seconds, record.inference_seconds = result.queue_seconds, result.inference_seconds
    record.generated, record.encode_seconds = result.finished, encode_seconds
    record.seeds = seeds
