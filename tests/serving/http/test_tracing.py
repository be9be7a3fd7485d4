"""Tracing: a span for each request, named by the route's template, if an exporter is set."""

import asyncio

import pytest
from _bentoml_sdk import Service
from bentoml._internal.configuration.containers import BentoMLContainer

from serving.connection.connection import Connection
from serving.http import tracing
from serving.http.routing import Router
from serving.http.tracing import traced
from serving.routes import ROUTES
from serving.service import Figment

route_label = Router(ROUTES).label


async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def exporter_set():
    settings = {BentoMLContainer.tracing.exporter_type: "in_memory", BentoMLContainer.tracing.sample_rate: 1.0}
    before = {setting: setting.get() for setting in settings}
    for setting, value in settings.items():
        setting.set(value)
    yield
    for setting, value in before.items():
        setting.set(value)


def test_no_middleware_without_an_exporter():
    assert traced(application, route_label) is application


@pytest.mark.parametrize(
    ("wrap", "rejects_early"), [(lambda inner, _: inner, True), (lambda inner, _: application, False)]
)
def test_requests_are_not_rejected_early_when_tracing_is_on(monkeypatch, wrap, rejects_early):
    monkeypatch.setattr(Connection, "rejects_early", None, raising=False)
    monkeypatch.setattr(tracing, "traced", wrap)
    monkeypatch.setattr(Service, "to_asgi", lambda *_: application)  # it would create a provider without an exporter
    Figment.to_asgi()
    assert Connection.rejects_early is rejects_early


def test_a_span_has_the_name_of_its_route(exporter_set):
    middleware = traced(application, route_label)
    provider = BentoMLContainer.tracer_provider.get()
    path = "/images/digits/42.png"
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": [], "scheme": "http", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2)}

    async def nothing(*_):
        return {"type": "http.request"}

    asyncio.run(middleware(scope, nothing, nothing))
    provider.force_flush()
    (processor,) = provider._active_span_processor._span_processors
    spans = processor.span_exporter.get_finished_spans()
    assert [span.name for span in spans] == ["GET /images/{model}/{seed}.{format}"]
