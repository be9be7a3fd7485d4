"""What each route does: thin, between a request's headers and the code that knows no HTTP."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from serving.api.generation import generate, generate_at, interpolate
from serving.api.image_address import ImageAddress, matches
from serving.connection.client_state import cancel_on_disconnect
from serving.generation import Generated, generation_headers
from serving.http.body import body_limit, check_is_json, read_body
from serving.http.responses import RawResponse
from serving.metrics import CONTENT_TYPE
from serving.runtime import Runtime


async def generate_images(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``POST /generate``: images."""
    return await _images(runtime, request, receive, generate)


async def interpolate_images(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``POST /interpolate``: the images between two."""
    return await _images(runtime, request, receive, interpolate)


async def _images(
    runtime: Runtime,
    request: Request,
    receive: Receive,
    make: Callable[[Runtime, bytes, str | None], Awaitable[Generated]],
) -> Response:
    with runtime.track_request():
        check_is_json(request)
        limit = body_limit(runtime.settings.max_images, runtime.registry.longest_noise)
        with cancel_on_disconnect(request.scope):
            body = await read_body(request, receive, limit)
            made = await make(runtime, body, request.headers.get("accept"))
    return RawResponse(made.body, made.media_type, [*generation_headers(made), (b"vary", b"Accept")])


async def show_image(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /images/{model}/{seed}.{format}``: one image, for browsers and caches."""
    with runtime.track_request():
        address = ImageAddress(request.scope["path"], request.scope["query_string"].decode("latin-1"))
        with cancel_on_disconnect(request.scope):
            made = await generate_at(runtime, address)
    # Of the very bytes: another processor's image may differ in a pixel, and then its tag differs, too.
    etag = f'"{hashlib.sha256(made.body).hexdigest()[:32]}"'
    kept = address.cache_control(needs_key=bool(runtime.settings.api_keys))
    headers = [*generation_headers(made), (b"etag", etag.encode()), (b"cache-control", kept.encode())]
    if matches(etag, request.headers.get("if-none-match")):
        not_modified = Response(status_code=304)
        not_modified.raw_headers += headers
        return not_modified
    return RawResponse(made.body, made.media_type, headers)


async def list_models(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /models``: the card of every loaded bundle."""
    cards = [engine.card.model_dump(mode="json") for engine in runtime.registry]
    return JSONResponse({"default": runtime.registry.default or None, "models": cards})


async def show_model(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /models/{model}``: the card of its newest version."""
    name = request.scope["path"].rpartition("/")[2]
    return JSONResponse(runtime.registry.find(name, None).card.model_dump(mode="json"))


async def show_alive(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /livez``: that the event loop turns, and that the devices' threads do."""
    runtime.check_alive()
    return JSONResponse({"status": "alive"})


async def show_ready(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /readyz``: whether images can be asked for, of which models, and which bundles were refused."""
    if runtime.is_ready:
        return JSONResponse(runtime.status())
    return JSONResponse(runtime.status(), 503, {"Retry-After": str(runtime.retry_seconds)})


async def show_metrics(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /metrics``: for Prometheus."""
    return Response(await asyncio.to_thread(runtime.metrics.exposition), headers={"Content-Type": CONTENT_TYPE})
