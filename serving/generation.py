"""One request from its bytes to its answer's bytes; knows nothing of HTTP but the ``Accept`` header."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial

from serving.answers import Answer, Picture
from serving.device_thread import Made
from serving.engine import Engine, Inputs
from serving.image_address import ImageAddress
from serving.inputs import prepare
from serving.json_body import read_json
from serving.negotiation import Offer, negotiate
from serving.requests import GenerateRequest, read_request
from serving.runtime import Runtime

# Up to these sizes, work is done in less time than handing it to a thread takes.
SMALL_BODY_BYTES = 16 * 1024
SMALL_IMAGES = 8


@dataclass(frozen=True)
class Generated:
    """An answer: its body, the seeds that went into it, and the seconds that each stage took."""

    body: bytes
    media_type: str
    seeds: list[int] | None
    queue_seconds: float
    inference_seconds: float
    encode_seconds: float


async def generate(runtime: Runtime, body: bytes, accept: str | None) -> Generated:
    """Makes the images that a JSON body asks for.

    Raises ``RequestError``. If the task is cancelled, what waits of the request is never made.
    """
    read = partial(_read, body, runtime.settings.max_images)
    request = read() if len(body) <= SMALL_BODY_BYTES else await runtime.encoder.run(read)
    offer = negotiate(request, accept)
    return await _make(runtime, runtime.catalogue.find(request.model, request.version), request, offer)


async def generate_at(runtime: Runtime, address: ImageAddress) -> Generated:
    """Makes the image at an address. Raises ``RequestError``, and may be cancelled, as ``generate``."""
    engine = runtime.catalogue.find(address.model, address.version)
    request = address.request(engine.card)
    return await _make(runtime, engine, request, negotiate(request, accept=None))


async def run(runtime: Runtime, engine: Engine, inputs: Inputs) -> Made:
    """The images of ``inputs``, from the engine's thread. Raises ``RequestError``, and may be cancelled."""
    thread = runtime.thread_of(engine)
    ticket = thread.submit(inputs)
    try:
        return await ticket.future
    except asyncio.CancelledError:
        thread.drop(ticket, "disconnected")
        raise


async def _make(runtime: Runtime, engine: Engine, request: GenerateRequest, offer: Offer) -> Generated:
    job = partial(prepare, request, engine.card)
    prepared = job() if request.images <= SMALL_IMAGES else await runtime.encoder.run(job)
    made = await run(runtime, engine, prepared.inputs)
    started = time.monotonic()
    content = await _encode(runtime, Answer(request, prepared, made, offer, engine.card), offer.format)
    card = engine.card
    runtime.metrics.images.labels(card.name, str(card.version), offer.format).inc(request.images)
    return Generated(
        content,
        offer.media_type,
        prepared.seeds,
        made.queue_seconds,
        made.inference_seconds,
        time.monotonic() - started,
    )


def _read(body: bytes, max_images: int) -> GenerateRequest:
    return read_request(read_json(body), max_images)


async def _encode(runtime: Runtime, answer: Answer, file_format: str) -> bytes:
    observe = runtime.metrics.encode.labels(file_format).observe

    def encode(pictures: list[Picture]) -> list[bytes]:
        files = []
        for picture in pictures:
            started = time.monotonic()
            files.append(answer.encode(picture))
            observe(time.monotonic() - started)
        return files

    pictures = answer.pictures
    if len(pictures) <= SMALL_IMAGES:
        return await runtime.encoder.run(lambda: answer.body(encode(pictures)))
    parts = [pictures[start : start + SMALL_IMAGES] for start in range(0, len(pictures), SMALL_IMAGES)]
    encoded = await runtime.encoder.run_all([partial(encode, part) for part in parts])
    return await runtime.encoder.run(lambda: answer.body([file for files in encoded for file in files]))
