"""The ASGI application: Figment's routes before BentoML's own, and one record of how each request went.

It stands before BentoML's stack: the middleware there costs three times as much as a small image, and labels its
metrics with every path that a client invents.
"""

import asyncio
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.config.settings import Settings
from serving.connection.client_state import check_client_waits
from serving.early_rejection import EARLY_REJECTED, EARLY_REJECTED_ROUTE, reject_early
from serving.errors import ApiError, ErrorCode
from serving.http.auth import Authenticator
from serving.http.cors import CorsMiddleware
from serving.http.request_log import log_failure, log_request
from serving.http.request_record import RequestRecord, record_of, request_id
from serving.http.responses import IndexedRequest, error_response
from serving.http.routing import OTHER, Route, Router
from serving.http.tracing import RequestTracer
from serving.process.worker import has_not_hung
from serving.routes import routes_for
from serving.runtime import Runtime
from serving.shutdown import install_signal_handlers


class Application:
    """Dispatches requests, and counts and times each of them by its route's template."""

    def __init__(
        self,
        bentoml_app: ASGIApp,
        create_runtime: Callable[[], Runtime],
        settings: Settings,
        tracer: RequestTracer | None = None,
    ) -> None:
        """``create_runtime`` is called in the running event loop, and has to start the loading."""
        self.connections: set[asyncio.Transport] = set()
        """The open connections; each adds and removes itself."""
        self.router = Router(routes_for(settings))
        self._authenticator = Authenticator(
            settings.api_keys, self.router.public_paths(public_metrics=settings.public_metrics)
        )
        self._bentoml = bentoml_app
        self._create_runtime = create_runtime
        self._tracer = tracer
        self._logs_requests = settings.log_format == "json"
        # CORS stands inside of the accounting, so that browsers' preflights are counted, too.
        self._respond = (
            CorsMiddleware(self._dispatch, settings.cors_origins) if settings.cors_origins else self._dispatch
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or the lifespan of the process."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._bentoml(scope, receive, send)

    def record_rejection(self, error: ApiError, headers: list[tuple[bytes, bytes]], body_bytes: int) -> RequestRecord:
        """Records and counts what a connection rejected before there was a request; it has no duration.

        ``headers`` are those that have arrived.
        """
        record = RequestRecord(request_id(headers), None, OTHER, time.monotonic())
        record.fail(error.code)
        record.body_bytes = body_bytes
        self._runtime.metrics.requests_of(OTHER, str(record.status)).inc()
        self._report(record, headers, None)
        return record

    def can_reject_early(self, method: bytes, address: bytes) -> bool:
        """Returns whether ``reject_early`` may return a response."""
        return method == b"POST" and address == EARLY_REJECTED and self._runtime.is_crowded

    def reject_early(self, headers: list[tuple[bytes, bytes]], body: bytes) -> Response | None:
        """Returns the rejection of a request for images that finds a full queue; ``None`` for any other request."""
        record = RequestRecord(request_id(headers), "POST", EARLY_REJECTED_ROUTE, time.monotonic())
        response = reject_early(self._runtime, self._authenticator, record, headers, body)
        if response is not None:
            response.raw_headers.append((b"x-request-id", record.id))
            record.body_bytes = len(response.body)
            self._end(record, headers)
        return response

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._runtime = self._create_runtime()
        has_not_hung()  # since ``serving.worker`` has started the process
        install_signal_handlers(self._runtime, self.connections)

        async def send_last(message: Message) -> None:
            # The process ends as soon as the server gets this message.
            if message["type"] == "lifespan.shutdown.complete" and self._tracer is not None:
                await self._tracer.close()
            await send(message)

        try:
            await self._bentoml(scope, receive, send_last)
        finally:
            await asyncio.to_thread(self._runtime.close)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        route, scope["path_params"] = self.router.match(scope["path"])
        scope["endpoint"] = route
        label = OTHER if route is None else route.label
        record = RequestRecord(request_id(scope["headers"]), scope["method"], label, time.monotonic())
        scope["state"]["record"] = record

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                headers = message["headers"]
                headers.append((b"x-request-id", record.id))
                if self._runtime.is_shutting_down and (b"connection", b"close") not in headers:
                    headers.append((b"connection", b"close"))
            elif message["type"] == "http.response.body":
                record.body_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._respond(scope, receive, send_recorded)
        except Exception:
            # The response is incomplete, even if its start was sent. Uvicorn logs the error and closes the connection.
            record.fail(ErrorCode.BROKEN)
            log_failure("The response to request %s to %s is incomplete", record)
            raise
        finally:
            self._end(record, scope["headers"])

    def _end(self, record: RequestRecord, headers: list[tuple[bytes, bytes]]) -> None:
        """Counts, times and reports a request that has ended."""
        ended = time.monotonic()
        metrics = self._runtime.metrics
        metrics.requests_of(record.route, str(record.status)).inc()
        metrics.request_duration_of(record.route).observe(ended - record.started)
        self._report(record, headers, ended)

    def _report(self, record: RequestRecord, headers: list[tuple[bytes, bytes]], ended: float | None) -> None:
        """Sends the spans of a request and logs it, if the operator asks for them."""
        trace_id = None if self._tracer is None else self._tracer.trace(record, headers)
        if self._logs_requests:
            log_request(record, ended=ended, trace_id=trace_id)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        route: Route | None = scope["endpoint"]
        request = IndexedRequest(scope)
        try:
            check_client_waits(scope)
            self._authenticator.check(scope)
            if route is not None and route.handler is None:
                return await self._bentoml(scope, receive, send)
            response = await self._answer(route, request, receive)
        except ApiError as error:
            record = record_of(scope)
            record.fail(error.code)
            if error.code is ErrorCode.BROKEN:
                log_failure("Request %s to %s failed", record, error.__cause__)
            if error.code is ErrorCode.DISCONNECTED:
                return None
            response = error_response(error, scope["path"])
        if scope["method"] == "HEAD":
            response.body = b""
        return await response(scope, receive, send)

    async def _answer(self, route: Route | None, request: Request, receive: Receive) -> Response:
        if route is None or route.handler is None:
            raise ApiError(ErrorCode.NOT_FOUND, "There is nothing at this path.")
        if request.method not in route.allowed_methods:
            allowed = ", ".join(route.allowed_methods)
            raise ApiError(
                ErrorCode.METHOD_NOT_ALLOWED, f"{route.label} answers {allowed} only.", headers=[("Allow", allowed)]
            )
        try:
            return await route.handler(self._runtime, request, receive)
        except ApiError:
            raise
        except Exception as error:
            raise ApiError(ErrorCode.BROKEN, "The service failed; its log says why.") from error
