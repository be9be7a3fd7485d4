"""The endpoints of the Open Inference Protocol v2: ``/v2`` and the paths below it."""

import re
import time
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from serving.connection.client_state import cancel_on_disconnect
from serving.errors import ApiError, ErrorCode
from serving.generation import SMALL_BODY_BYTES, SMALL_IMAGES, check_fits, find_engine, record_generation, run
from serving.http.body import JSON_LENGTH_HEADER, body_limit, check_is_plain, media_type_of, read_body
from serving.http.request_record import RequestRecord, record_of
from serving.http.responses import RawResponse
from serving.inference.engine import Engine, Images
from serving.oip.inputs import count_images, model_metadata, read_tensors
from serving.oip.messages import ResponseHead, image_numbers, read_infer_request
from serving.runtime import Runtime

_PROTOCOL_VERSION = "1"
BINARY_TYPE = "application/octet-stream"

# Without leading zeros, like the versions of bundles.
VERSION_PATTERN = "[1-9][0-9]{0,8}"
_VERSION = re.compile(VERSION_PATTERN, re.ASCII)

# The format of tensors in metrics, in JSON or in binary.
_FORMAT = "tensor"


async def show_server(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /v2``: the server's name, version and extensions."""
    return JSONResponse({"name": "figment", "version": _PROTOCOL_VERSION, "extensions": ["binary_tensor_data"]})


async def show_live(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /v2/health/live``: whether the event loop and the devices' threads run."""
    runtime.check_alive()
    return JSONResponse({"live": True})


async def show_ready(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /v2/health/ready``: whether the service takes requests for images."""
    runtime.check_ready()
    return JSONResponse({"ready": True})


async def show_model(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /v2/models/{model}[/versions/{version}]``: a model's tensors."""
    with runtime.track_request():
        card = _engine_of(runtime, request).card
        versions = [engine.card.version for engine in runtime.registry if engine.card.name == card.name]
        return JSONResponse(model_metadata(card, versions))


async def show_model_ready(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET …/ready``: whether a model takes requests for images."""
    runtime.check_ready()
    return JSONResponse({"name": _engine_of(runtime, request).card.name, "ready": True})


async def infer(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``POST …/infer``: images as a tensor."""
    record = record_of(request.scope)
    with runtime.track_request():
        _check_content(request)
        limit = body_limit(runtime.settings.max_images, runtime.registry.longest_noise)
        with cancel_on_disconnect(request.scope):
            body = await read_body(request, receive, limit)
            content, json_length = await _infer(runtime, record, request, body)
    headers = record.generation_headers()
    if json_length is None:
        return RawResponse(content, "application/json", headers)
    headers.append((JSON_LENGTH_HEADER.lower().encode(), b"%d" % json_length))
    return RawResponse(content, BINARY_TYPE, headers)


def _engine_of(runtime: Runtime, request: Request) -> Engine:
    """Finds the engine that the path names. Raises ``ApiError`` if there is none."""
    parameters: dict[str, str] = request.scope["path_params"]
    version = parameters.get("version")
    if version is not None and not _VERSION.fullmatch(version):
        raise ApiError(ErrorCode.NOT_FOUND, f"version: there is no version {version[:32]!r}.")
    return find_engine(
        runtime, record_of(request.scope), parameters["model"], None if version is None else int(version)
    )


def _check_content(request: Request) -> None:
    # Triton's own client sends no Content-Type.
    if media_type_of(request) not in ("", "application/json", BINARY_TYPE):
        raise ApiError(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"Content-Type: the body must be application/json or {BINARY_TYPE}."
        )
    check_is_plain(request)


async def _infer(runtime: Runtime, record: RequestRecord, request: Request, body: bytes) -> tuple[bytes, int | None]:
    """Returns the response's body, and the length of its JSON if binary data follow."""
    engine = _engine_of(runtime, request)
    card = engine.card
    read = partial(read_infer_request, body, request.headers.get(JSON_LENGTH_HEADER))
    message = read() if len(body) <= SMALL_BODY_BYTES else await runtime.encoder.run(read)
    message.check_model(card.name, card.version)
    count = count_images(message.inputs, card, runtime.settings.max_images)
    check_fits(runtime, record, engine, count)
    prepare = partial(read_tensors, message, card, count)
    tensors = prepare() if count <= SMALL_IMAGES else await runtime.encoder.run_exclusive(prepare)
    result = await run(runtime, record, engine, tensors.inputs)
    started = time.monotonic()
    head = ResponseHead(card.name, card.version, message.id, result.images.shape)
    json_length: int | None = None
    if message.binary_output:
        content, json_length = await runtime.encoder.run(partial(head.with_bytes, result.images))
    else:
        content = await _in_json(runtime, head, result.images)
    encode_seconds = time.monotonic() - started
    runtime.metrics.images.labels(card.name, str(card.version), _FORMAT).inc(count)
    runtime.metrics.observe_encode(_FORMAT, encode_seconds, count)
    record_generation(record, result, encode_seconds, tensors.seeds)
    return content, json_length


async def _in_json(runtime: Runtime, head: ResponseHead, images: Images) -> bytes:
    def numbers(start: int) -> list[bytes]:
        return [image_numbers(image) for image in images[start : start + SMALL_IMAGES]]

    # In parts, so that the encoder threads serve other requests between them.
    parts = await runtime.encoder.run_all([partial(numbers, start) for start in range(0, len(images), SMALL_IMAGES)])
    return await runtime.encoder.run(lambda: head.with_numbers([image for part in parts for image in part]))
