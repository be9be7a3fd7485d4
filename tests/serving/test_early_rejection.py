"""A full queue rejects requests at the connection, with the usual response; all other requests go the usual way."""

import asyncio
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.runtime import Phase
from tests.serving.in_process import Client, application, configured, queue_of, request

FULL = {"model": "mlp", "seeds": [1, 2]}
ROOMY = {"model": "conv", "seeds": [3], "format": "npy"}


class Served:
    """The service with one full queue, in an event loop that runs only during a call."""

    def __init__(self, zoo, **settings):
        self.loop = asyncio.new_event_loop()
        self._opened = application(zoo, **settings)
        self.application, self.runtime = self.loop.run_until_complete(self._opened.__aenter__())
        self.full = queue_of(self.runtime, "mlp")
        self.full.images = 4

    def close(self):
        self.full.images = 0
        self.loop.run_until_complete(self._opened.__aexit__(None, None, None))
        self.runtime.close()
        self.loop.close()

    def ask(self, *parts, times=1, rejects_early=True, prepare=lambda client: None):
        """Returns the responses to these parts, and whether the connection rejected the last request."""

        async def main():
            client = Client(configured(self.application, rejects_early))
            prepare(client)
            for part in parts:
                client.send(part)
            is_early = client.server_end.cycle is None
            answers = await client.answered(times)
            client.leave()
            return answers, is_early

        return self.loop.run_until_complete(main())

    def metric(self, name, **labels):
        return self.runtime.metrics._registry.get_sample_value(name, labels) or 0


@pytest.fixture(scope="module")
def served(zoo):
    served = Served(zoo)
    yield served
    served.close()


def without_id(answer):
    """Returns a response without its request id."""
    status, headers, body = answer
    return status, {**headers, "x-request-id": ""}, body


def test_an_early_rejection_equals_the_usual_one(served):
    (answer,), is_early = served.ask(request(FULL))
    (usual,), usually_early = served.ask(request(FULL), rejects_early=False)
    assert is_early
    assert not usually_early
    assert without_id(answer) == without_id(usual)
    assert answer[0] == 429
    assert answer[1]["retry-after"]
    assert "4 images wait already" in json.loads(answer[2])["error"]


def test_it_is_counted_once(served):
    def counted():
        requests = served.metric("figment_requests_total", route="/generate", code="429")
        times = served.metric("figment_request_duration_seconds_count", route="/generate")
        return requests, times, served.metric("figment_dropped_images_total", model="mlp", reason="queue_full")

    before = counted()
    _, is_early = served.ask(request(FULL))
    assert is_early
    assert counted() == (before[0] + 1, before[1] + 1, before[2] + 2)


def test_the_clients_own_request_id_comes_back(served):
    (answer,), _ = served.ask(request(FULL, "X-Request-ID: mine"))
    assert answer[1]["x-request-id"] == "mine"


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (400, request(b'{"model": "mlp", ')),
        (404, request({"model": "none", "seeds": [1]})),
        (406, request(FULL, "Accept: text/plain")),
        (413, request({"model": "mlp", "count": 100_000})),
        (415, request(FULL, "Content-Type: text/plain")),
        (415, request(FULL, "Content-Encoding: gzip")),
        (422, request({"model": "mlp"})),
        (200, request(ROOMY)),
    ],
)
def test_all_other_requests_go_the_usual_way(served, status, asked):
    (answer,), is_early = served.ask(asked)
    assert not is_early
    (usual,), _ = served.ask(asked, rejects_early=False)
    assert (answer[0], answer[2]) == (usual[0], usual[2])
    assert answer[0] == status


def test_without_a_key_the_queue_stays_hidden(zoo):
    served = Served(zoo, api_keys=["a-key-of-some-length"])
    try:
        assert served.ask(request(FULL))[0][0][0] == 401
        (answer,), is_early = served.ask(request(FULL, "Authorization: Bearer a-key-of-some-length"))
        assert (answer[0], is_early) == (429, True)
    finally:
        served.close()


def pause_writing(client):
    client.server_end.flow.write_paused = True
    asyncio.get_running_loop().call_later(0.05, client.server_end.flow.resume_writing)


def log_access(client):
    client.server_end.access_log = True


@pytest.mark.parametrize(
    ("parts", "prepare"),
    [
        pytest.param([request(FULL, "Origin: https://example.com")], None, id="a page of another origin asks"),
        pytest.param([request(FULL, "Connection: close")], None, id="the connection is to end"),
        pytest.param([request(FULL, "Expect: 100-continue")], None, id="it waits to be told to go on"),
        pytest.param([request(FULL)[:-5], request(FULL)[-5:]], None, id="the body comes in parts"),
        pytest.param([request(json.dumps(FULL).encode() + b" " * 2**14)], None, id="the body is long"),
        pytest.param([request(FULL)], pause_writing, id="the client does not read"),
        pytest.param([request(FULL)], log_access, id="there is an access log"),
    ],
)
def test_exceptions_are_rejected_the_usual_way(served, parts, prepare):
    (answer,), is_early = served.ask(*parts, prepare=prepare or (lambda client: None))
    assert answer[0] == 429
    assert not is_early


def test_a_draining_service_answers_503(served):
    served.runtime.phase = Phase.DRAINING
    try:
        assert served.ask(request(FULL))[0][0][0] == 503
    finally:
        served.runtime.phase = Phase.READY


def test_room_again(served):
    served.full.images = 0
    try:
        assert served.ask(request(FULL))[0][0][0] == 200
    finally:
        served.full.images = 4


def test_keep_alive_starts_after_a_rejection_and_stops_for_a_request_in_flight(served):
    async def main():
        client = Client(configured(served.application))
        client.send(request(FULL))
        idle = client.server_end.timeout_keep_alive_task
        assert idle is not None
        client.send(request(FULL) + request(ROOMY))
        assert idle.cancelled()
        assert client.server_end.timeout_keep_alive_task is None
        await client.answered(3)
        assert client.server_end.timeout_keep_alive_task is not None
        client.leave()

    served.loop.run_until_complete(main())


REQUESTS = {
    429: request(FULL),
    200: request(ROOMY),
    422: request({"model": "mlp"}),
    404: b"GET /nowhere HTTP/1.1\r\nHost: figment\r\n\r\n",
}


@given(
    statuses=st.lists(st.sampled_from([*REQUESTS]), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 1000), max_size=6),
)
def test_responses_keep_the_order_of_requests(served, statuses, cuts):
    data = b"".join(REQUESTS[status] for status in statuses)
    at = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    parts = [data[start:stop] for start, stop in pairwise(at)]
    answers, _ = served.ask(*parts, times=len(statuses))
    assert [answer[0] for answer in answers] == statuses
