"""A span around each request, where BentoML's configuration names an exporter (``tracing: exporter_type``)."""

from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer
from starlette.types import ASGIApp, Scope

from serving.app import template_of


def traced(application: ASGIApp) -> ASGIApp:
    """The application, in OpenTelemetry's middleware if that is asked for: it costs more than a small image does."""
    if not BentoMLContainer.tracing.exporter_type.get():
        return application
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    provider = BentoMLContainer.tracer_provider.get()
    middleware: ASGIApp = OpenTelemetryMiddleware(
        application, default_span_details=_span, tracer_provider=provider, exclude_spans=["receive", "send"]
    )
    return middleware


def _span(scope: Scope) -> tuple[str, dict[str, Any]]:
    """By the route's template: a name for each path would be as many names as clients can think of."""
    return f"{scope['method']} {template_of(scope['path'])}", {}
