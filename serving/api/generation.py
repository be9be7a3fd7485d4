"""From a request's bytes to its response's bytes; of HTTP it knows only the ``Accept`` header."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

from serving.api.composition import compose_generated, compose_interpolated
from serving.api.image_address import ImageAddress
from serving.api.inputs import prepare
from serving.api.interpolation import prepare_walk, read_interpolate_request
from serving.api.prediction import read_predict_request
from serving.api.requests import GenerateRequest, read_generate_request
from serving.encoding.answers import Answer, Picture
from serving.encoding.negotiation import Offer, animation_offers, negotiate, offer_for, offers_of, predictions_offer
from serving.generation import SMALL_BODY_BYTES, SMALL_IMAGES, check_fits, find_engine, record_generation, run
from serving.http.json_body import read_json
from serving.http.request_record import RequestRecord
from serving.inference.engine import Engine, Inputs
from serving.inference.pending import InferenceResult
from serving.runtime import Runtime

# Bytes of pixels that a thread encodes at a time: some milliseconds, between which it serves other requests.
_PART_BYTES = 2**16

T = TypeVar("T")


class Encoded(NamedTuple):
    """The body of a response with images, and its media type."""

    body: bytes
    media_type: str


async def generate(runtime: Runtime, record: RequestRecord, body: bytes, accept: str | None) -> Encoded:
    """Generates the images that a JSON body asks for.

    Raises ``ApiError``. Cancellation drops the request's waiting images.
    """
    request = await _read(runtime, read_generate_request, body)
    engine, offer = _accept(runtime, record, request, accept)
    return await _generate(runtime, record, engine, request, offer)


async def predict(runtime: Runtime, record: RequestRecord, body: bytes, accept: str | None) -> Encoded:
    """Generates the images of a platform's request. Raises ``ApiError``, and may be cancelled like ``generate``."""
    request, has_instances = await _read(runtime, read_predict_request, body)
    if has_instances:
        offer = negotiate((predictions_offer(request.format),), accept)
        engine = _admit(runtime, record, request)
    else:
        engine, offer = _accept(runtime, record, request, accept)
    return await _generate(runtime, record, engine, request, offer)


def ensure_capacity(runtime: Runtime, record: RequestRecord, body: bytes, accept: str | None) -> None:
    """Raises the ``ApiError`` that ``generate`` would raise before it generates, such as that a queue is full."""
    _accept(runtime, record, _read_json(read_generate_request, body, runtime.settings.max_images), accept)


async def generate_at(runtime: Runtime, record: RequestRecord, address: ImageAddress) -> Encoded:
    """Generates the image at an address. Raises ``ApiError``, and may be cancelled like ``generate``."""
    engine = find_engine(runtime, record, address.model, address.version)
    request = address.request(engine.card)
    check_fits(runtime, record, engine, request.images)
    return await _generate(runtime, record, engine, request, offers_of(request.format, one_image=True)[0])


async def interpolate(runtime: Runtime, record: RequestRecord, body: bytes, accept: str | None) -> Encoded:
    """Generates the walk that a JSON body asks for. Raises ``ApiError``, and may be cancelled like ``generate``."""
    request = await _read(runtime, read_interpolate_request, body)
    if request.layout == "animation":
        offer = negotiate(animation_offers(request.format), accept)
    else:
        offer = offer_for(request.format, request.layout == "grid", accept)
    engine = find_engine(runtime, record, request.model, request.version)
    check_fits(runtime, record, engine, request.steps)
    walk = await _prepare(runtime, partial(prepare_walk, request, engine.card), request.steps)
    compose = partial(compose_interpolated, request, walk, offer, engine.card)
    ends = [end.seed for end in (request.start, request.to) if end.seed is not None]
    return await _encode(runtime, record, engine, walk.inputs, compose, offer, ends)


def _accept(
    runtime: Runtime, record: RequestRecord, request: GenerateRequest, accept: str | None
) -> tuple[Engine, Offer]:
    """Returns the request's engine and the form of its response. Raises ``ApiError`` if it must be rejected."""
    offer = offer_for(request.format, request.images == 1 or request.layout == "grid", accept)
    return _admit(runtime, record, request), offer


def _admit(runtime: Runtime, record: RequestRecord, request: GenerateRequest) -> Engine:
    engine = find_engine(runtime, record, request.model, request.version)
    check_fits(runtime, record, engine, request.images)
    return engine


async def _generate(
    runtime: Runtime, record: RequestRecord, engine: Engine, request: GenerateRequest, offer: Offer
) -> Encoded:
    prepared = await _prepare(runtime, partial(prepare, request, engine.card), request.images)
    compose = partial(compose_generated, request, prepared, offer, engine.card)
    return await _encode(runtime, record, engine, prepared.inputs, compose, offer, prepared.seeds)


async def _read(runtime: Runtime, read: Callable[[Any, int], T], body: bytes) -> T:
    max_images = runtime.settings.max_images
    if len(body) <= SMALL_BODY_BYTES:
        return _read_json(read, body, max_images)
    return await runtime.encoder.run(partial(_read_json, read, body, max_images))


def _read_json(read: Callable[[Any, int], T], body: bytes, max_images: int) -> T:
    return read(read_json(body), max_images)


async def _prepare(runtime: Runtime, job: Callable[[], T], images: int) -> T:
    return job() if images <= SMALL_IMAGES else await runtime.encoder.run_exclusive(job)


async def _encode(
    runtime: Runtime,
    record: RequestRecord,
    engine: Engine,
    inputs: Inputs,
    compose: Callable[[InferenceResult], Answer],
    offer: Offer,
    seeds: list[int] | None,
) -> Encoded:
    """Runs the device and encodes the images: a few beside the device's thread, many in parts."""
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

    def finish(result: InferenceResult) -> tuple[InferenceResult, Answer, bytes | None]:
        answer = compose(result)
        if answer.is_one_file:
            started = time.monotonic()
            body = answer.body([])
            runtime.metrics.observe_encode(offer.format, time.monotonic() - started, len(result.images))
            return result, answer, body
        is_small = len(answer.pictures) <= part_images
        return result, answer, answer.body(encode(answer, answer.pictures)) if is_small else None

    result, answer, body = await run(runtime, record, engine, inputs, finish)
    if body is None:
        pictures = answer.pictures
        parts = [pictures[start : start + part_images] for start in range(0, len(pictures), part_images)]
        encoded = await runtime.encoder.run_all([partial(encode, answer, part) for part in parts])
        body = await runtime.encoder.run(lambda: answer.body([file for files in encoded for file in files]))
    card = engine.card
    runtime.metrics.images_of(card.name, str(card.version), offer.format).inc(len(result.images))
    record_generation(record, result, time.monotonic() - result.finished, seeds)
    return Encoded(body, offer.media_type)
