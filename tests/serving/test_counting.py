"""Every request is counted once, whatever becomes of it."""

import asyncio

import pytest

from serving.connection.client_state import ClientState
from tests.serving.in_process import application


@pytest.mark.parametrize("fails_at", ["http.response.start", "http.response.body"])
def test_an_answer_that_cannot_be_sent_is_counted_as_broken(zoo, fails_at):
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
