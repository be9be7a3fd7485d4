"""The endpoints of the Open Inference Protocol v2: ``/v2`` and what is below it."""

import time
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from serving.connection.client_state import cancel_on_disconnect
from serving.errors import OIP_ROOT, ApiError, ErrorCode
from serving.generation import SMALL_BODY_BYTES, SMALL_IMAGES, Generated, check_fits, generation_headers, run
from serving.http.body import body_limit, check_is_plain, media_type_of, read_body
from serving.http.headers import HEADER_LENGTH
from serving.http.responses import RawResponse
from serving.inference.engine import Images
from serving.oip.inputs import count_images, model_metadata, read_tensors
from serving.oip.messages import ResponseHead, image_numbers, read_infer_request
from serving.oip.paths import model_of, model_templates
from serving.runtime import Runtime

_VERSION = "1"
BINARY_TYPE = "application/octet-stream"

# The format by which images sent as tensors are counted, in JSON or in binary.
_FORMAT = "tensor"


async def show_server(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /v2``: what this server is and can do."""
    return JSONResponse({"name": "figment", "version": _VERSION, "extensions": ["binary_tensor_data"]})


async def show_live(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /v2/health/live``: that the event loop turns, and that the devices' threads do."""
    runtime.check_alive()
    return JSONResponse({"live": True})


async def show_ready(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /v2/health/ready``: whether images can be asked for."""
    runtime.check_ready()
    return JSONResponse({"ready": True})


async def show_model(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /v2/models/{model}[/versions/{version}]``: a model's tensors."""
    with runtime.track_request():
        card = runtime.registry.find(*model_of(request.scope["path"])).card
        versions = [engine.card.version for engine in runtime.registry if engine.card.name == card.name]
        return JSONResponse(model_metadata(card, versions))


async def show_model_ready(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET …/ready``: whether images can be asked of a model."""
    runtime.check_ready()
    card = runtime.registry.find(*model_of(request.scope["path"])).card
    return JSONResponse({"name": card.name, "ready": True})


async def infer(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``POST …/infer``: images as a tensor."""
    with runtime.track_request():
        _check_content(request)
        limit = body_limit(runtime.settings.max_images, runtime.registry.longest_noise)
        with cancel_on_disconnect(request.scope):
            body = await read_body(request, receive, limit)
            made, json_length = await _infer(runtime, request, body)
    headers = generation_headers(made)
    if json_length is not None:
        headers.append((HEADER_LENGTH.lower().encode(), b"%d" % json_length))
    return RawResponse(made.body, made.media_type, headers)


def _check_content(request: Request) -> None:
    # Triton's own client names no type.
    if media_type_of(request) not in ("", "application/json", BINARY_TYPE):
        raise ApiError(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"Content-Type: the body must be application/json or {BINARY_TYPE}."
        )
    check_is_plain(request)


async def _infer(runtime: Runtime, request: Request, body: bytes) -> tuple[Generated, int | None]:
    """The answer, and the length of its JSON where binary data follow that."""
    engine = runtime.registry.find(*model_of(request.scope["path"]))
    card = engine.card
    read = partial(read_infer_request, body, request.headers.get(HEADER_LENGTH))
    message = read() if len(body) <= SMALL_BODY_BYTES else await runtime.encoder.run(read)
    message.check_model(card.name, card.version)
    count = count_images(message.inputs, card, runtime.settings.max_images)
    check_fits(runtime, engine, count)
    prepare = partial(read_tensors, message.inputs, card, count)
    tensors = prepare() if count <= SMALL_IMAGES else await runtime.encoder.run_exclusive(prepare)
    made = await run(runtime, engine, tensors.inputs)
    started = time.monotonic()
    head = ResponseHead(card.name, card.version, message.id, made.images.shape)
    json_length: int | None = None
    if message.binary_output:
        content, json_length = await runtime.encoder.run(partial(head.with_bytes, made.images))
    else:
        content = await _in_json(runtime, head, made.images)
    encode_seconds = time.monotonic() - started
    runtime.metrics.images.labels(card.name, str(card.version), _FORMAT).inc(count)
    runtime.metrics.observe_encode(_FORMAT, encode_seconds, count)
    generated = Generated(
        card,
        content,
        "application/json" if json_length is None else BINARY_TYPE,
        tensors.seeds,
        made.queue_seconds,
        made.inference_seconds,
        encode_seconds,
    )
    return generated, json_length


async def _in_json(runtime: Runtime, head: ResponseHead, images: Images) -> bytes:
    def numbers(start: int) -> list[bytes]:
        return [image_numbers(image) for image in images[start : start + SMALL_IMAGES]]

    # In parts, so that other requests' images have their turns between them.
    parts = await runtime.encoder.run_all([partial(numbers, start) for start in range(0, len(images), SMALL_IMAGES)])
    return await runtime.encoder.run(lambda: head.with_numbers([image for part in parts for image in part]))


Endpoint = Callable[[Runtime, Request, Receive], Awaitable[Response]]

ROUTES: dict[str, tuple[str, Endpoint]] = {
    OIP_ROOT: ("GET", show_server),
    f"{OIP_ROOT}/health/live": ("GET", show_live),
    f"{OIP_ROOT}/health/ready": ("GET", show_ready),
    **dict.fromkeys(model_templates(""), ("GET", show_model)),
    **dict.fromkeys(model_templates("ready"), ("GET", show_model_ready)),
    **dict.fromkeys(model_templates("infer"), ("POST", infer)),
}
