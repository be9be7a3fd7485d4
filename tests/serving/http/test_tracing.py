"""A span for each request where an exporter is set, named by the route's template; else nothing at all."""

import asyncio

import pytest
from _bentoml_sdk import Service
from bentoml._internal.configuration.containers import BentoMLContainer

from serving.connection.connection import Connection
from serving.http import tracing
from serving.http.tracing import traced
from serving.service import Figment


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


def test_nothing_is_put_around_the_application_where_no_exporter_is_set():
    assert traced(application) is application


@pytest.mark.parametrize(("around", "sheds"), [(lambda inner: inner, True), (lambda inner: application, False)])
def test_only_what_has_no_span_is_refused_before_it_is_a_request(monkeypatch, around, rejects_early):
    monkeypatch.setattr(Connection, "sheds", None, raising=False)
    monkeypatch.setattr(tracing, "traced", around)
    monkeypatch.setattr(Service, "to_asgi", lambda *_: application)  # it would make a provider without an exporter
    Figment.to_asgi()
    assert Connection.rejects_early is rejects_early


def test_a_span_is_named_by_the_route(exporter_set):
    around = traced(application)
    provider = BentoMLContainer.tracer_provider.get()
    path = "/images/digits/42.png"
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": [], "scheme": "http", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2)}

    async def nothing(*_):
        return {"type": "http.request"}

    asyncio.run(around(scope, nothing, nothing))
    provider.force_flush()
    (processor,) = provider._active_span_processor._span_processors
    spans = processor.span_exporter.get_finished_spans()
    assert [span.name for span in spans] == ["GET /images/{model}/{seed}.{format}"]
