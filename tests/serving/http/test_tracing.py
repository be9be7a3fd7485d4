"""Each request becomes spans, if OpenTelemetry's variables or BentoML's configuration say where they go."""

import asyncio
import os
import socket
import time

import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from serving.http.request_record import RequestRecord
from serving.http.tracing import RequestTracer, create_tracer
from tests.serving.in_process import InProcess, queue_of, request

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def traceparent(sampled):
    return f"traceparent: 00-{TRACE}-{PARENT}-{'01' if sampled else '00'}"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def exporter():
    return InMemorySpanExporter()


@pytest.fixture(scope="module")
def traced(zoo, exporter):
    """A service with room for 4 images in its queue, that keeps its spans."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    served = InProcess(zoo, RequestTracer(provider))
    yield served
    served.close()


@pytest.fixture
def spans(exporter):
    """The spans so far, by name."""
    exporter.clear()
    return lambda: {span.name: span for span in exporter.get_finished_spans()}


def test_a_request_for_images_has_three_stages_one_after_the_other(traced, spans):
    before = time.time_ns()
    _, headers, body = traced.ask(request({"model": "mlp", "seeds": [5, 6]}))
    after = time.time_ns()
    whole, stages = spans().pop("POST /generate"), spans()
    del stages["POST /generate"]
    assert [*stages] == ["queue", "inference", "encode"]
    assert {stage.parent.span_id for stage in stages.values()} == {whole.context.span_id}
    assert (whole.kind, whole.parent, whole.status.status_code) == (SpanKind.SERVER, None, StatusCode.UNSET)
    ends = [whole.start_time]
    for stage in stages.values():
        assert stage.start_time >= ends[-1] - 1000  # the clocks' sum is rounded
        ends.append(stage.end_time)
    assert before - 1000 <= whole.start_time < ends[-1] <= whole.end_time + 1000 <= after + 2000
    assert dict(whole.attributes) == {
        "http.request.method": "POST",
        "http.route": "/generate",
        "http.response.status_code": 200,
        "http.response.body.size": len(body),
        "figment.request_id": headers["x-request-id"],
        "figment.model": "mlp",
        "figment.version": 2,
        "figment.images": 2,
    }


def test_the_clients_trace_is_continued(traced, spans):
    traced.ask(request({"model": "mlp", "seeds": [5]}, traceparent(sampled=True)))
    assert {f"{span.context.trace_id:032x}" for span in spans().values()} == {TRACE}
    assert f"{spans()['POST /generate'].parent.span_id:016x}" == PARENT


def test_what_the_client_does_not_sample_has_no_span(traced, spans):
    traced.ask(request({"model": "mlp", "seeds": [5]}, traceparent(sampled=False)))
    assert not spans()


@pytest.mark.parametrize("header", ["traceparent: 00-nonsense-01", "traceparent: ", "tracestate: a=b"])
def test_an_invalid_context_begins_a_new_trace(traced, spans, header):
    traced.ask(request({"model": "mlp", "seeds": [5]}, header))
    assert spans()["POST /generate"].parent is None


@pytest.mark.parametrize("headers", [[], ["Connection: close"]], ids=["early", "in its turn"])
def test_a_rejection_has_a_span_with_its_reason(traced, spans, headers):
    queue = queue_of(traced.runtime, "mlp")
    queue.images = 4
    try:
        traced.ask(request({"model": "mlp", "seeds": [5]}, traceparent(sampled=True), *headers))
    finally:
        queue.images = 0
    (span,) = spans().values()
    assert span.name == "POST /generate"
    assert f"{span.context.trace_id:032x}" == TRACE
    attributes = span.attributes["http.response.status_code"], span.attributes["error.type"]
    assert attributes == (429, "queue_full")
    assert span.status.status_code is StatusCode.UNSET  # the client's fault is no error of a server's span


def test_what_never_became_a_request_has_a_span(traced, spans):
    traced.ask(b"no HTTP\r\n\r\n")
    (span,) = spans().values()
    assert (span.name, span.attributes["error.type"]) == ("other", "not_http")


def test_a_failure_is_an_error(traced, spans, monkeypatch):
    async def fails(*_):
        raise RuntimeError("a fault")

    monkeypatch.setattr("serving.api.generation.run", fails)
    traced.ask(request({"model": "mlp", "seeds": [5]}))
    assert spans()["POST /generate"].status.status_code is StatusCode.ERROR


def test_clients_cannot_invent_names(traced, spans):
    for path in ("/nowhere", "/images/mlp/5.png", "/images/mlp/6.png"):
        traced.ask(f"GET {path} HTTP/1.1\r\nHost: figment\r\n\r\n".encode())
    assert spans().keys() - {"queue", "inference", "encode"} == {"GET other", "GET /images/{model}/{seed}.{format}"}


def test_no_tracer_without_an_endpoint():
    assert create_tracer() is None


def test_bentomls_configuration_names_an_exporter():
    settings = {BentoMLContainer.tracing.exporter_type: "in_memory", BentoMLContainer.tracing.sample_rate: 1.0}
    before = {setting: setting.get() for setting in settings}
    try:
        for setting, value in settings.items():
            setting.set(value)
        assert create_tracer()._provider is BentoMLContainer.tracer_provider.get()
    finally:
        for setting, value in before.items():
            setting.set(value)


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "figment"),
        ({"OTEL_SERVICE_NAME": "faces"}, "faces"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=faces"}, "faces"),
    ],
)
def test_opentelemetrys_own_variables_hold(monkeypatch, variables, name):
    variables |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:9/prefix", "OTEL_EXPORTER_OTLP_HEADERS": "key=1"}
    variables |= {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    provider = create_tracer()._provider
    assert provider.resource.attributes["service.name"] == name
    assert isinstance(provider.sampler, ParentBased)
    assert isinstance(provider.sampler._root, TraceIdRatioBased)
    assert provider.sampler._root.rate == 0.25
    (processor,) = provider._active_span_processor._span_processors
    assert processor.span_exporter._endpoint == "http://localhost:9/prefix/v1/traces"
    provider.shutdown()


def test_a_collector_that_never_answers_does_not_hold_the_end(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracer = create_tracer()
        tracer.trace(RequestRecord(b"id", "GET", "/livez", time.monotonic()), [])
        began = time.monotonic()
        asyncio.run(tracer.close())
        assert time.monotonic() - began < 6  # the exporter's own timeout is 10 s
        silent.settimeout(1)
        silent.accept()[0].close()
