"""The ASGI application: Figment's routes first, then BentoML's own; an answer in JSON for everything else.

It stands before BentoML's stack, not in it: the middleware there costs three times what a small image does, and
labels its metrics with whatever path a client invents.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api import documentation, endpoints, image_address, pages
from serving.api.generation import ensure_capacity
from serving.config.settings import Settings
from serving.connection.client_state import check_client_waits
from serving.errors import STATUS, ApiError, ErrorCode, error_body, is_oip
from serving.generation import SMALL_BODY_BYTES
from serving.http.auth import Authenticator
from serving.http.body import check_is_json
from serving.http.cors import CorsMiddleware
from serving.http.responses import IndexedRequest, RawJSONResponse
from serving.oip import endpoints as oip
from serving.oip import paths as oip_paths
from serving.runtime import Runtime
from serving.shutdown import install_signal_handlers

logger = logging.getLogger("figment.http")

Endpoint = Callable[[Runtime, Request, Receive], Awaitable[Response]]

_ROUTES: dict[str, tuple[str, Endpoint]] = {
    "/generate": ("POST", endpoints.generate_images),
    "/interpolate": ("POST", endpoints.interpolate_images),
    image_address.TEMPLATE: ("GET", endpoints.show_image),
    "/models": ("GET", endpoints.list_models),
    "/models/{model}": ("GET", endpoints.show_model),
    "/livez": ("GET", endpoints.show_alive),
    "/readyz": ("GET", endpoints.show_ready),
    "/metrics": ("GET", endpoints.show_metrics),
    pages.INDEX: ("GET", pages.show_page),
    pages.TEMPLATE: ("GET", pages.show_page),
    "/openapi.json": ("GET", documentation.show_openapi),
    "/docs": ("GET", documentation.show_docs),
    **oip.ROUTES,
}

# What BentoML's clients and tools ask for. Its index page is not among them: that loads scripts from other hosts.
_BENTOML_PATHS = frozenset({"/schema.json", "/docs.json", "/healthz"})

# What may be refused before it is a request, see ``Application.reject_early``.
_EARLY_REJECTED = b"/generate"

_OTHER = "other"

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class Application:
    """Dispatches requests, and counts and times every one of them by its route's template."""

    def __init__(self, bentoml_app: ASGIApp, create_runtime: Callable[[], Runtime], settings: Settings) -> None:
        """``create_runtime`` is called with the event loop running, and is to begin loading."""
        # The open ones, which come and go by themselves.
        self.connections: set[asyncio.Transport] = set()
        self._authenticator = Authenticator(settings)
        self._bentoml = bentoml_app
        self._create_runtime = create_runtime
        # Inside of the counting, so that the questions which browsers ask before a request are counted, too.
        self._respond = (
            CorsMiddleware(self._dispatch, settings.cors_origins) if settings.cors_origins else self._dispatch
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection's request, or the process's lifespan."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._bentoml(scope, receive, send)

    def count_rejected(self, status: int) -> None:
        """Counts what was refused before it was a request."""
        self._runtime.metrics.requests_of(_OTHER, str(status)).inc()

    def can_reject_early(self, method: bytes, address: bytes) -> bool:
        """Whether ``reject_early`` may have an answer."""
        return method == b"POST" and address == _EARLY_REJECTED and self._runtime.is_crowded

    def reject_early(self, headers: list[tuple[bytes, bytes]], body: bytes) -> Response | None:
        """The refusal of a request for images that a full queue has no room for; ``None`` for all others.

        What is asked beyond a service's capacity takes its time from the cores that serve the rest. So it is refused
        here, by the same checks in the same order, before a task and ASGI's messages are made for it.
        """
        started = time.monotonic()
        path = _EARLY_REJECTED.decode()
        request = IndexedRequest(
            {"type": "http", "path": path, "raw_path": _EARLY_REJECTED, "query_string": b"", "headers": headers}
        )
        # Of a long body no more than its length is looked at here; to a page of another origin, more is to be said.
        if len(body) > SMALL_BODY_BYTES or "origin" in request.headers:
            return None
        try:
            self._authenticator.check(request.scope)
            check_is_json(request)
            ensure_capacity(self._runtime, body, request.headers.get("accept"))
        except ApiError as error:
            if error.refusal is not ErrorCode.QUEUE_FULL:
                return None
            response = _refusal(request, error)
        else:
            return None
        response.raw_headers.append((b"x-request-id", _request_id(request.scope)))
        self._count(path, response.status_code, started)
        return response

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._runtime = self._create_runtime()
        install_signal_handlers(self._runtime, self.connections)
        try:
            await self._bentoml(scope, receive, send)
        finally:
            await asyncio.to_thread(self._runtime.close)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        request_id = _request_id(scope)
        route = template_of(scope["path"])
        # What is never answered is left by its client.
        status = STATUS[ErrorCode.DISCONNECTED]

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                headers.append((b"x-request-id", request_id))
                if self._runtime.is_shutting_down and (b"connection", b"close") not in headers:
                    headers.append((b"connection", b"close"))
            await send(message)

        try:
            await self._respond(scope, receive, send_counted)
        except Exception:
            # Whatever was announced, the answer is not whole. Uvicorn logs the error and closes the connection.
            status = STATUS[ErrorCode.BROKEN]
            raise
        finally:
            self._count(route, status, started)

    def _count(self, route: str, status: int, started: float) -> None:
        metrics = self._runtime.metrics
        metrics.requests_of(route, str(status)).inc()
        metrics.request_duration_of(route).observe(time.monotonic() - started)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = IndexedRequest(scope)
        try:
            check_client_waits(scope)
            self._authenticator.check(scope)
            if scope["path"] in _BENTOML_PATHS:
                return await self._bentoml(scope, receive, send)
            response = await _answer(self._runtime, request, receive)
        except ApiError as error:
            if error.refusal is ErrorCode.DISCONNECTED:
                return None
            response = _refusal(request, error)
        if scope["method"] == "HEAD":
            response.body = b""
        return await response(scope, receive, send)


async def _answer(runtime: Runtime, request: Request, receive: Receive) -> Response:
    route = template_of(request.scope["path"])
    if route == _OTHER:
        raise ApiError(ErrorCode.NOT_FOUND, "There is nothing at this path.")
    method, endpoint = _ROUTES[route]
    if request.method != method and (request.method, method) != ("HEAD", "GET"):
        allowed = "GET, HEAD" if method == "GET" else method
        raise ApiError(ErrorCode.METHOD_NOT_ALLOWED, f"{route} answers {allowed} only.", headers=[("Allow", allowed)])
    try:
        return await endpoint(runtime, request, receive)
    except ApiError:
        raise
    except Exception:
        logger.exception("A request to %s failed", route)
        raise ApiError(ErrorCode.BROKEN, "The service failed; its log says why.") from None


def _request_id(scope: Scope) -> bytes:
    """The client's own, if it sent a usable one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            if _REQUEST_ID.fullmatch(value):
                return value  # type: ignore[no-any-return]
            break
    return b"%032x" % random.getrandbits(128)


def _refusal(request: Request, error: ApiError) -> Response:
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers]
    return RawJSONResponse(error_body(error, request.scope["path"]), error.status, headers)


def template_of(path: str) -> str:
    """The template of a path's route, or ``other``: labels and names are of these alone."""
    if path in _ROUTES and "{" not in path:
        return path
    if path.startswith("/images/"):
        return image_address.TEMPLATE
    if path.startswith("/playground/"):
        return pages.TEMPLATE
    if is_oip(path):
        return oip_paths.template_of(path) or _OTHER
    folder, _, name = path.rpartition("/")
    return "/models/{model}" if folder == "/models" and name else _OTHER
