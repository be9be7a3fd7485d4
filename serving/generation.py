"""What every route that generates images shares: the checks before, the run on a device, and the headers after."""

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from models.bundle import Card
from serving.errors import ApiError, ErrorCode
from serving.inference.engine import Engine, Inputs
from serving.inference.pending import InferenceResult
from serving.runtime import Runtime

# Up to these sizes, work is done in less time than handing it to a thread takes.
SMALL_BODY_BYTES = 16 * 1024
SMALL_IMAGES = 8


@dataclass(slots=True)
class Generated:
    """An answer: the card of its generator, its body, the seeds in it, and the seconds that each stage took."""

    card: Card
    body: bytes
    media_type: str
    seeds: list[int] | None
    queue_seconds: float
    inference_seconds: float
    encode_seconds: float


def check_fits(runtime: Runtime, engine: Engine, images: int) -> None:
    """Raises ``ApiError`` for more pixels than one request may ask for, and if the queue has no room.

    Every route calls this before it draws noise: under load, noise for refused requests delays the others.
    """
    image, most = engine.card.image, runtime.settings.max_pixels
    if images * image.height * image.width > most:
        raise ApiError(
            ErrorCode.TOO_LARGE,
            f"{images} images of {image.width} × {image.height} are more than the {most} pixels that one request "
            "may ask for.",
        )
    runtime.scheduler_for(engine).ensure_capacity(images)


async def run(
    runtime: Runtime, engine: Engine, inputs: Inputs, finish: Callable[[InferenceResult], Any] | None = None
) -> Any:
    """The images of ``inputs``, or what ``finish`` makes of them in an encoder thread.

    Raises ``ApiError``, and may be cancelled.
    """
    thread = runtime.scheduler_for(engine)
    ticket = thread.submit(inputs, finish)
    try:
        return await ticket.future
    except asyncio.CancelledError:
        thread.drop(ticket, "disconnected")
        raise


def generation_headers(made: Generated) -> list[tuple[bytes, bytes]]:
    """The headers that tell of images what their bytes do not."""
    timing = b"queue;dur=%.3f, inference;dur=%.3f, encode;dur=%.3f" % (
        made.queue_seconds * 1000,
        made.inference_seconds * 1000,
        made.encode_seconds * 1000,
    )
    return [
        *_model_headers(made.card.name, made.card.version),
        (b"x-figment-seeds", ",".join(map(str, made.seeds or ())).encode()),
        (b"server-timing", timing),
    ]


@functools.cache
def _model_headers(model: str, version: int) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    return (b"x-figment-model", model.encode()), (b"x-figment-version", b"%d" % version)
