"""The event loop never computes: no turn takes 20 ms of its thread's CPU time, whatever is requested."""

import asyncio
import json
import time

import pytest

from serving.api import endpoints
from serving.config.settings import Settings
from serving.connection.client_state import ClientState
from serving.http.request_record import RequestRecord
from serving.http.responses import IndexedRequest
from serving.inference.device import Devices, Hardware
from serving.loading.start import start_loading
from serving.metrics import Metrics
from serving.runtime import Phase, Runtime

IMAGES = 256
REQUESTS = {
    "many as zip": ({"count": IMAGES}, "application/zip"),
    "many as json": ({"count": IMAGES, "format": "webp"}, "application/json"),
    "many as npy": ({"count": IMAGES}, "application/x-npy"),
    "a grid": ({"seeds": f"0-{IMAGES - 1}", "layout": "grid"}, "image/jpeg"),
    "much noise": ({"noise": [[0.123456789] * 32] * IMAGES}, "application/json"),
    "small ones": ({"seeds": [1]}, "application/json"),
}


async def post(runtime, content, accept):
    headers = {"content-type": "application/json", "content-length": str(len(content)), "accept": accept}
    scope = {"type": "http", "method": "POST", "path": "/generate", "query_string": b""}
    scope["state"] = {"record": RequestRecord(b"id", "POST", "/generate", 0)}
    ClientState().attach(scope)
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    messages = [{"type": "http.request", "body": content}]

    async def receive():
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()

    response = await endpoints.generate_images(runtime, IndexedRequest(scope), receive)
    assert response.status_code == 200


async def longest_turn(work):
    """Returns the CPU time of the longest turn of the loop while ``work`` was done, in seconds."""
    longest, task = 0.0, asyncio.ensure_future(work)
    while not task.done():
        began = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - began)
    await task
    return longest


@pytest.mark.parametrize("name", REQUESTS)
def test_no_turn_of_the_event_loop_is_long(zoo, name):
    body, accept = REQUESTS[name]
    content = json.dumps(body).encode()

    async def main():
        runtime = Runtime(Settings(models=zoo, default_model="mlp", max_batch=64, queue_images=10_000), Metrics())
        runtime.start(start_loading(runtime.settings, Devices("cpu", Hardware(1))))
        try:
            while runtime.phase is not Phase.READY:
                await asyncio.sleep(0.01)
            return await longest_turn(asyncio.gather(*(post(runtime, content, accept) for _ in range(20))))
        finally:
            await asyncio.to_thread(runtime.close)

    longest = asyncio.run(main())
    assert longest < 0.02
