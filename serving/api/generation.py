"""One request from its bytes to its answer's bytes; knows nothing of HTTP but the ``Accept`` header."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from serving.api.composition import generated, walked
from serving.api.image_address import ImageAddress
from serving.api.inputs import prepare
from serving.api.interpolation import prepare_walk, read_walk
from serving.api.requests import GenerateRequest, read_request
from serving.encoding.answers import Answer, Picture
from serving.encoding.negotiation import Offer, animation_offers, negotiate, offer_for, offers_of
from serving.generation import SMALL_BODY_BYTES, SMALL_IMAGES, Generated, check_fits, run
from serving.http.json_body import read_json
from serving.inference.engine import Engine, Inputs
from serving.inference.pending import InferenceResult
from serving.runtime import Runtime

# What a thread encodes at a time, in bytes of pixels: some milliseconds, between which other requests have their turns.
_PART_BYTES = 2**16

T = TypeVar("T")


async def generate(runtime: Runtime, body: bytes, accept: str | None) -> Generated:
    """Makes the images that a JSON body asks for.

    Raises ``ApiError``. If the task is cancelled, what waits of the request is never made.
    """
    request = await _read(runtime, read_request, body)
    engine, offer = _let_in(runtime, request, accept)
    return await _generate(runtime, engine, request, offer)


def ensure_capacity(runtime: Runtime, body: bytes, accept: str | None) -> None:
    """Raises the ``ApiError`` that ``generate`` would before it makes anything, such as that a queue is full."""
    _let_in(runtime, _read_json(read_request, body, runtime.settings.max_images), accept)


async def generate_at(runtime: Runtime, address: ImageAddress) -> Generated:
    """Makes the image at an address. Raises ``ApiError``, and may be cancelled, as ``generate``."""
    engine = runtime.registry.find(address.model, address.version)
    request = address.request(engine.card)
    check_fits(runtime, engine, request.images)
    return await _generate(runtime, engine, request, offers_of(request.format, one_image=True)[0])


async def interpolate(runtime: Runtime, body: bytes, accept: str | None) -> Generated:
    """Makes the walk that a JSON body asks for. Raises ``ApiError``, and may be cancelled, as ``generate``."""
    request = await _read(runtime, read_walk, body)
    if request.layout == "animation":
        offer = negotiate(animation_offers(request.format), accept)
    else:
        offer = offer_for(request.format, request.layout == "grid", accept)
    engine = runtime.registry.find(request.model, request.version)
    check_fits(runtime, engine, request.steps)
    walk = await _prepare(runtime, partial(prepare_walk, request, engine.card), request.steps)
    compose = partial(walked, request, walk, offer, engine.card)
    ends = [end.seed for end in (request.start, request.to) if end.seed is not None]
    return await _answer(runtime, engine, walk.inputs, compose, offer, ends)


def _let_in(runtime: Runtime, request: GenerateRequest, accept: str | None) -> tuple[Engine, Offer]:
    offer = offer_for(request.format, request.images == 1 or request.layout == "grid", accept)
    engine = runtime.registry.find(request.model, request.version)
    check_fits(runtime, engine, request.images)
    return engine, offer


async def _generate(runtime: Runtime, engine: Engine, request: GenerateRequest, offer: Offer) -> Generated:
    prepared = await _prepare(runtime, partial(prepare, request, engine.card), request.images)
    compose = partial(generated, request, prepared, offer, engine.card)
    return await _answer(runtime, engine, prepared.inputs, compose, offer, prepared.seeds)


async def _read(runtime: Runtime, read: Callable[[Any, int], T], body: bytes) -> T:
    most = runtime.settings.max_images
    if len(body) <= SMALL_BODY_BYTES:
        return _read_json(read, body, most)
    return await runtime.encoder.run(partial(_read_json, read, body, most))


def _read_json(read: Callable[[Any, int], T], body: bytes, max_images: int) -> T:
    return read(read_json(body), max_images)


async def _prepare(runtime: Runtime, job: Callable[[], T], images: int) -> T:
    return job() if images <= SMALL_IMAGES else await runtime.encoder.run_exclusive(job)


async def _answer(
    runtime: Runtime,
    engine: Engine,
    inputs: Inputs,
    compose: Callable[[InferenceResult], Answer],
    offer: Offer,
    seeds: list[int] | None,
) -> Generated:
    image = engine.card.image
    part_images = max(1, _PART_BYTES // (image.height * image.width * image.channels))
    observe = runtime.metrics.encode_of(offer.format).observe

    def encode(answer: Answer, pictures: list[Picture]) -> list[bytes]:
        files = []
        for picture in pictures:
            started = time.monotonic()
            files.append(answer.encode(picture))
            observe(time.monotonic() - started)
        return files

    def finish(made: InferenceResult) -> tuple[InferenceResult, Answer, bytes | None]:
        answer = compose(made)
        if answer.is_one_file:
            started = time.monotonic()
            body = answer.body([])
            runtime.metrics.observe_encode(offer.format, time.monotonic() - started, len(made.images))
            return made, answer, body
        small = len(answer.pictures) <= part_images
        return made, answer, answer.body(encode(answer, answer.pictures)) if small else None

    made, answer, body = await run(runtime, engine, inputs, finish)
    if body is None:
        pictures = answer.pictures
        parts = [pictures[start : start + part_images] for start in range(0, len(pictures), part_images)]
        encoded = await runtime.encoder.run_all([partial(encode, answer, part) for part in parts])
        body = await runtime.encoder.run(lambda: answer.body([file for files in encoded for file in files]))
    card = engine.card
    runtime.metrics.images_of(card.name, str(card.version), offer.format).inc(len(made.images))
    return Generated(
        card,
        body,
        offer.media_type,
        seeds,
        made.queue_seconds,
        made.inference_seconds,
        time.monotonic() - made.finished,
    )
