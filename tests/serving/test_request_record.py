"""Every request has one record, whatever becomes of it; response headers and metrics agree with it."""

import asyncio
import json

import pytest

from serving import app
from serving.connection.client_state import ClientState
from serving.errors import ErrorCode
from serving.http.request_record import RequestRecord
from tests.serving.in_process import InProcess, application, queue_of, request


@pytest.mark.parametrize("fails_at", ["http.response.start", "http.response.body"])
def test_a_response_that_cannot_be_sent_counts_as_broken(zoo, fails_at):
    async def main():
        async def send(message):
            if message["type"] == fails_at:
                raise RuntimeError("Invalid HTTP header value.")

        async with application(zoo) as (served, runtime):
            scope = {"type": "http", "method": "GET", "path": "/livez", "raw_path": b"/livez", "query_string": b""}
            scope |= {"headers": [], "state": {}}
            ClientState().attach(scope)
            with pytest.raises(RuntimeError):
                await served(scope, None, send)
            sample = runtime.metrics._registry.get_sample_value
            times = sample("figment_request_duration_seconds_count", {"route": "/livez"})
            return sample("figment_requests_total", {"route": "/livez", "code": "500"}), times

    assert asyncio.run(main()) == (1, 1)


@pytest.fixture(scope="module")
def served(zoo):
    """A service with room for 4 images in its queue."""
    served = InProcess(zoo)
    yield served
    served.close()


@pytest.fixture
def records(monkeypatch):
    """The records that the application creates."""
    created = []

    class Kept(RequestRecord):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            created.append(self)

    monkeypatch.setattr(app, "RequestRecord", Kept)
    return created


INFER = {"inputs": [{"name": "seed", "datatype": "UINT32", "shape": [2], "data": [5, 6]}]}
WALK = {"model": "conv", "from": {"seed": 5}, "to": {"seed": 6}, "steps": 3}


@pytest.mark.parametrize(
    ("sent", "route", "model", "version", "images", "seeds"),
    [
        (request({"model": "mlp", "seeds": [5, 6]}), "/generate", "mlp", 2, 2, [5, 6]),
        (request({"model": "mlp", "version": 1, "noise": [[0] * 32]}), "/generate", "mlp", 1, 1, None),
        (request(WALK, path="/interpolate"), "/interpolate", "conv", 1, 3, [5, 6]),
        (request(INFER, path="/v2/models/mlp/infer"), "/v2/models/{model}/infer", "mlp", 2, 2, [5, 6]),
        (
            b"GET /images/mlp/5.png HTTP/1.1\r\nHost: figment\r\n\r\n",
            "/images/{model}/{seed}.{format}",
            "mlp",
            2,
            1,
            [5],
        ),
    ],
)
def test_a_request_for_images(served, records, sent, route, model, version, images, seeds):
    status, headers, _ = served.ask(sent)
    (record,) = records
    assert (record.route, record.model, record.version, record.images) == (route, model, version, images)
    assert (record.status, record.reason, record.seeds) == (status, None, seeds)
    assert status == 200
    assert headers["x-request-id"] == record.id.decode()
    assert headers["x-figment-seeds"] == ",".join(map(str, seeds or ()))
    stages = record.queue_seconds, record.inference_seconds, record.encode_seconds
    queue, inference, encode = (seconds * 1000 for seconds in stages)
    assert headers["server-timing"] == f"queue;dur={queue:.3f}, inference;dur={inference:.3f}, encode;dur={encode:.3f}"
    assert min(stages) >= 0
    assert record.inference_seconds > 0


def test_a_rejected_request_knows_its_model(served, records):
    queue = queue_of(served.runtime, "mlp")
    queue.images = 4
    try:
        status, headers, _ = served.ask(request({"model": "mlp", "seeds": [5, 6]}))
    finally:
        queue.images = 0
    (record,) = records
    assert (record.model, record.images, record.status, record.reason) == ("mlp", 2, status, ErrorCode.QUEUE_FULL)
    assert headers["x-request-id"] == record.id.decode()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET /nowhere HTTP/1.1\r\nHost: figment\r\n\r\n", ErrorCode.NOT_FOUND),
        (b"no HTTP\r\n\r\n", ErrorCode.NOT_HTTP),
        (request({"seeds": []}), ErrorCode.INVALID),
    ],
)
def test_a_rejection_has_its_reason(served, records, sent, reason):
    status, headers, body = served.ask(sent)
    (record,) = records
    assert (record.status, record.reason, record.model) == (status, reason, None)
    assert headers["x-request-id"] == record.id.decode()
    assert json.loads(body)["error"]
