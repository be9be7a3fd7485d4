"""Traces each request if BentoML's configuration names an exporter (``tracing: exporter_type``)."""

from collections.abc import Callable
from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer
from starlette.types import ASGIApp, Scope


def traced(application: ASGIApp, route_label: Callable[[str], str]) -> ASGIApp:
    """Returns the application, inside OpenTelemetry's middleware only if an exporter is set.

    The middleware costs more than a small image.
    """
    if not BentoMLContainer.tracing.exporter_type.get():
        return application
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    def span(scope: Scope) -> tuple[str, dict[str, Any]]:
        # Name spans by route template: clients could otherwise create any number of names.
        return f"{scope['method']} {route_label(scope['path'])}", {}

    provider = BentoMLContainer.tracer_provider.get()
    middleware: ASGIApp = OpenTelemetryMiddleware(
        application, default_span_details=span, tracer_provider=provider, exclude_spans=["receive", "send"]
    )
    return middleware
