"""The service in its own process sends its spans to a collector, which a small OTLP receiver stands in for."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector():
    """An OTLP receiver: its address and what it has received, as (path, headers, message)."""
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, self.headers, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


def test_spans_and_lines_of_a_running_service(serve, zoo, collector, monkeypatch):
    """No span is sent before the end of the process here, so the test also protects the last spans."""
    address, received = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    with serve(models=zoo, default_model="mlp", log_format="json") as server:
        server.wait(lambda answer: answer.status_code == 200)
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "mine"}
        answer = httpx.post(f"{server.url}/generate", json={"seeds": [1, 2]}, headers=headers)
        assert answer.status_code == 200
        assert not received
    assert {path for path, _, _ in received} == {"/v1/traces"}
    assert {headers["authorization"] for _, headers, _ in received} == {"secret"}
    resources = [resource for _, _, message in received for resource in message.resource_spans]
    for resource in resources:
        names = {item.key: item.value.string_value for item in resource.resource.attributes}
        assert names["service.name"] == "figment"
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    spans = {span.name: span for span in spans if span.trace_id.hex() == TRACE}
    assert spans.keys() == {"POST /generate", "queue", "inference", "encode"}
    whole = spans.pop("POST /generate")
    assert whole.parent_span_id.hex() == PARENT
    assert {span.parent_span_id for span in spans.values()} == {whole.span_id}
    lines = [json.loads(line) for line in server.log.splitlines()]
    (line,) = [line for line in lines if line.get("route") == "/generate"]
    assert (line["id"], line["trace_id"], line["bytes"]) == ("mine", TRACE, len(answer.content))
    assert line["inference_ms"] > 0
