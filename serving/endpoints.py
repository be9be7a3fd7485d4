"""What each route does: thin, between a request's headers and the code that knows no HTTP."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from serving.body import body_limit, check_is_json, read_body
from serving.errors import Refusal, RequestError
from serving.generation import Generated, generate, generate_at, interpolate
from serving.image_address import ImageAddress, matches
from serving.metrics import CONTENT_TYPE
from serving.runtime import Phase, Runtime


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
    with runtime.request_in_hand():
        check_is_json(request)
        limit = body_limit(runtime.settings.max_images, runtime.catalogue.longest_noise)
        body = await read_body(request, receive, limit, runtime.settings.deadline_seconds)
        async with cancelled_if_client_goes(receive):
            made = await make(runtime, body, request.headers.get("accept"))
    return Response(made.body, headers=told(made) | {"Vary": "Accept"}, media_type=made.media_type)


async def show_image(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /images/{model}/{seed}.{format}``: one image, for browsers and caches."""
    with runtime.request_in_hand():
        address = ImageAddress(request.scope["path"], request.scope["query_string"].decode("latin-1"))
        async with cancelled_if_client_goes(receive):
            made = await generate_at(runtime, address)
    # Of the very bytes: another processor's image may differ in a pixel, and then its tag differs, too.
    etag = f'"{hashlib.sha256(made.body).hexdigest()[:32]}"'
    kept = address.cache_control(needs_key=bool(runtime.settings.api_keys))
    headers = told(made) | {"ETag": etag, "Cache-Control": kept}
    if matches(etag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    return Response(made.body, headers=headers, media_type=made.media_type)


def told(made: Generated) -> dict[str, str]:
    """The headers that tell of images what their bytes do not."""
    timing = ", ".join(
        f"{stage};dur={seconds * 1000:.3f}"
        for stage, seconds in (
            ("queue", made.queue_seconds),
            ("inference", made.inference_seconds),
            ("encode", made.encode_seconds),
        )
    )
    return {"X-Figment-Seeds": ",".join(map(str, made.seeds or ())), "Server-Timing": timing}


async def list_models(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /models``: the card of every loaded bundle."""
    cards = [engine.card.model_dump(mode="json") for engine in runtime.catalogue]
    return JSONResponse({"default": runtime.catalogue.default or None, "models": cards})


async def show_model(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /models/{model}``: the card of its newest version."""
    name = request.scope["path"].rpartition("/")[2]
    return JSONResponse(runtime.catalogue.find(name, None).card.model_dump(mode="json"))


async def show_alive(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /livez``: that the event loop turns."""
    return JSONResponse({"status": "alive"})


async def show_ready(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /readyz``: whether images can be asked for, of which models, and which bundles were refused."""
    if runtime.phase is Phase.READY:
        return JSONResponse(runtime.status())
    return JSONResponse(runtime.status(), 503, {"Retry-After": str(runtime.retry_seconds)})


async def show_metrics(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /metrics``: for Prometheus."""
    return Response(await asyncio.to_thread(runtime.metrics.exposition), headers={"Content-Type": CONTENT_TYPE})


@contextlib.asynccontextmanager
async def cancelled_if_client_goes(receive: Receive) -> AsyncIterator[None]:
    """Cancels what is done inside when the client closes its connection.

    Raises ``RequestError`` in that case.
    """
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise RequestError(Refusal.DISCONNECTED, "The client has gone.") from None
    finally:
        watcher.cancel()
