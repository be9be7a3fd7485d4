"""A span around each request, where BentoML's configuration names an exporter (``tracing: exporter_type``)."""

from collections.abc import Callable
from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer
from starlette.types import ASGIApp, Scope


def traced(application: ASGIApp, template_of: Callable[[str], str]) -> ASGIApp:
    """The application, in OpenTelemetry's middleware if that is asked for: it costs more than a small image does."""
    if not BentoMLContainer.tracing.exporter_type.get():
        return application
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    def span(scope: Scope) -> tuple[str, dict[str, Any]]:
        # By the route's template: a name for each path would be as many names as clients can think of.
        return f"{scope['method']} {template_of(scope['path'])}", {}

    provider = BentoMLContainer.tracer_provider.get()
    middleware: ASGIApp = OpenTelemetryMiddleware(
        application, default_span_details=span, tracer_provider=provider, exclude_spans=["receive", "send"]
    )
    return middleware
