"""Sends each request as spans: the request, and in it queue, inference and encode.

Spans are created when a request has ended, from its record. So a service without tracing pays one comparison, and an
early rejection has a span like any other request.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bentoml._internal.configuration.containers import BentoMLContainer

from serving.config.otlp import sends_spans
from serving.http.request_record import RequestRecord
from serving.process.worker import run_in_daemon_thread

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_CONTEXT_HEADERS = (b"traceparent", b"tracestate")

_SERVICE_NAME = "figment"
_CLOSE_SECONDS = 2.0


class RequestTracer:
    """Creates the spans of requests that have ended."""

    def __init__(self, provider: "TracerProvider") -> None:
        # Imported here: the packages take a quarter of a second, and most services send no spans.
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer(_SERVICE_NAME)
        self._extract = TraceContextTextMapPropagator().extract
        self._no_context = Context()
        self._server = SpanKind.SERVER
        self._failed = Status(StatusCode.ERROR)
        self._format_trace_id = format_trace_id
        self._inside = set_span_in_context

    def trace(self, record: RequestRecord, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Creates the spans of a request that ends now. Returns its trace's id; ``None`` if it is not sampled.

        Its ``traceparent`` decides the trace and, with the default sampler, whether it is sampled.
        """
        ended = time.time_ns()
        # Clocks are adjusted, so the wall clock is read once, and all other times are relative to it.
        offset = ended - round(time.monotonic() * 1e9)

        def wall(monotonic: float) -> int:
            return offset + round(monotonic * 1e9)

        context = self._no_context
        if carrier := {name.decode(): value.decode("latin-1") for name, value in headers if name in _CONTEXT_HEADERS}:
            context = self._extract(carrier, self._no_context)
        name = record.route if record.method is None else f"{record.method} {record.route}"
        span = self._tracer.start_span(
            name, context, self._server, attributes=_attributes(record), start_time=wall(record.started)
        )
        if not span.is_recording():
            return None
        if record.submitted is not None and record.generated is not None:
            running = record.submitted + record.queue_seconds
            stages = (
                ("queue", record.submitted, running),
                ("inference", running, record.generated),
                ("encode", record.generated, record.generated + record.encode_seconds),
            )
            inside = self._inside(span, context)
            for stage, begin, end in stages:
                self._tracer.start_span(stage, inside, start_time=wall(begin)).end(wall(end))
        if record.status >= 500:
            span.set_status(self._failed)
        span.end(ended)
        return self._format_trace_id(span.get_span_context().trace_id)

    async def close(self) -> None:
        """Sends the spans that wait. Gives up after ``_CLOSE_SECONDS``: a collector may never answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await run_in_daemon_thread(self._provider.shutdown, "send-last-spans")


def create_tracer() -> RequestTracer | None:
    """Returns the tracer if OpenTelemetry's variables, or BentoML's configuration, say where spans go; else ``None``.

    Raises ``SettingsError`` for a variable with an invalid value.
    """
    if sends_spans(os.environ):
        return RequestTracer(_otlp_provider())
    if BentoMLContainer.tracing.exporter_type.get():
        return RequestTracer(BentoMLContainer.tracer_provider.get())
    return None


def _otlp_provider() -> "TracerProvider":
    """Returns a provider that OpenTelemetry's variables configure: endpoint, headers, timeout, sampler, resource."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # An attribute that is passed would take precedence over OTEL_SERVICE_NAME.
    named = SERVICE_NAME in OTELResourceDetector().detect().attributes
    resource = Resource.create({} if named else {SERVICE_NAME: _SERVICE_NAME})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # the end of the service closes it, in time
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _attributes(record: RequestRecord) -> dict[str, str | int]:
    """Returns the attributes of a request's span: OpenTelemetry's names for HTTP, and Figment's own."""
    attributes: dict[str, str | int | None] = {
        "http.request.method": record.method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "http.response.body.size": record.body_bytes,
        "figment.request_id": record.id.decode(),
        "figment.model": record.model,
        "figment.version": record.version,
        "figment.images": record.images,
        "error.type": record.reason and record.reason.label,
    }
    return {name: value for name, value in attributes.items() if value is not None}
