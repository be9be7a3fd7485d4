"""The endpoints of Figment's own routes: thin, between HTTP and the code that generates images."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from serving.api.generation import Encoded, generate, generate_at, interpolate, predict
from serving.api.image_address import ImageAddress
from serving.connection.client_state import cancel_on_disconnect
from serving.http.body import body_limit, check_is_json, read_body
from serving.http.request_record import RequestRecord, record_of
from serving.http.responses import RawResponse, etag_matches, etag_of
from serving.metrics import CONTENT_TYPE
from serving.runtime import Runtime


async def generate_images(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``POST /generate``: images."""
    return await _images(runtime, request, receive, generate)


async def interpolate_images(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``POST /interpolate``: the images between two."""
    return await _images(runtime, request, receive, interpolate)


async def predict_images(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``POST`` at ``FIGMENT_PREDICT_ROUTE``: images, in the form that managed platforms ask for."""
    return await _images(runtime, request, receive, predict)


async def _images(
    runtime: Runtime,
    request: Request,
    receive: Receive,
    answer: Callable[[Runtime, RequestRecord, bytes, str | None], Awaitable[Encoded]],
) -> Response:
    record = record_of(request.scope)
    with runtime.track_request():
        check_is_json(request)
        limit = body_limit(runtime.settings.max_images, runtime.registry.longest_noise)
        with cancel_on_disconnect(request.scope):
            body = await read_body(request, receive, limit)
            encoded = await answer(runtime, record, body, request.headers.get("accept"))
    return RawResponse(encoded.body, encoded.media_type, [*record.generation_headers(), (b"vary", b"Accept")])


async def show_image(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /images/{model}/{seed}.{format}``: one image, for browsers and caches."""
    record = record_of(request.scope)
    with runtime.track_request():
        address = ImageAddress(request.scope["path_params"]["address"], request.scope["query_string"].decode("latin-1"))
        with cancel_on_disconnect(request.scope):
            encoded = await generate_at(runtime, record, address)
    # Hash the bytes themselves: another processor's image may differ in a pixel, and then needs another ETag.
    etag = etag_of(encoded.body)
    cache_control = address.cache_control(needs_key=bool(runtime.settings.api_keys))
    headers = [
        *record.generation_headers(),
        (b"etag", etag.encode()),
        (b"cache-control", cache_control.encode()),
    ]
    if etag_matches(etag, request):
        not_modified = Response(status_code=304)
        not_modified.raw_headers += headers
        return not_modified
    return RawResponse(encoded.body, encoded.media_type, headers)


async def list_models(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /models``: the card of every loaded bundle."""
    cards = [engine.card.model_dump(mode="json") for engine in runtime.registry]
    return JSONResponse({"default": runtime.registry.default or None, "models": cards})


async def show_model(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /models/{model}``: the card of its newest version."""
    return JSONResponse(runtime.registry.find(request.scope["path_params"]["model"], None).card.model_dump(mode="json"))


async def show_alive(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /livez``: whether the event loop and the devices' threads run."""
    runtime.check_alive()
    return JSONResponse({"status": "alive"})


async def show_ready(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /readyz``: whether the service takes requests for images, its models and its rejected bundles."""
    if runtime.is_ready:
        return JSONResponse(runtime.status())
    return JSONResponse(runtime.status(), 503, {"Retry-After": str(runtime.retry_seconds)})


async def show_metrics(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /metrics``: for Prometheus."""
    runtime.update_alive_gauge()
    return Response(await asyncio.to_thread(runtime.metrics.exposition), headers={"Content-Type": CONTENT_TYPE})
