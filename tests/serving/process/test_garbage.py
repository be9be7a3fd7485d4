"""Requests create no reference cycles: a run of Python's cycle collector stops every thread for 200 ms under load."""

import asyncio
import gc

import pytest

from tests.serving.in_process import Client, application, configured, queue_of, request

TIMES = 20

BODIES = {
    "generated": (200, {"model": "mlp", "seeds": [1]}),
    "rejected by a full queue": (429, {"model": "mlp", "seeds": "0-7"}),
    "no such model": (404, {"model": "none", "seeds": [1]}),
    "does not validate": (422, {"model": "mlp", "seeds": ["one"]}),
    "disconnected": (None, {"model": "mlp", "seeds": [1]}),
}


@pytest.mark.parametrize("rejects_early", [True, False])
@pytest.mark.parametrize("name", BODIES)
def test_requests_create_no_reference_cycles(zoo, name, rejects_early):
    status, body = BODIES[name]

    async def main():
        async with application(zoo) as (served, runtime):
            config = configured(served, rejects_early)
            if status == 429:
                queue_of(runtime, "mlp").has_capacity = lambda images: False

            async def send_request():
                client = Client(config)
                client.send(request(body))
                if status is None:
                    await asyncio.sleep(0)
                else:
                    assert [answer[0] for answer in await client.answered()] == [status]
                client.leave()
                await asyncio.sleep(0.01)

            await send_request()
            gc.collect()
            gc.disable()
            try:
                for _ in range(TIMES):
                    await send_request()
                return gc.collect()
            finally:
                gc.enable()

    assert asyncio.run(main()) < TIMES
