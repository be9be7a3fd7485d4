"""Requests leave nothing for Python's cycle collector: looking for it stops every thread, for 200 ms under load."""

import asyncio
import gc
import json

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.app import Application
from serving.connection import Connection, limit_connections
from serving.device import Devices, Hardware
from serving.metrics import Metrics
from serving.runtime import Phase, Runtime
from serving.settings import Settings

TIMES = 20

BODIES = {
    "made": (200, {"model": "mlp", "seeds": [1]}),
    "refused for want of room": (429, {"model": "mlp", "seeds": "0-7"}),
    "no such model": (404, {"model": "none", "seeds": [1]}),
    "does not validate": (422, {"model": "mlp", "seeds": ["one"]}),
}


class Transport(asyncio.Transport):
    """The server's end of a connection, and what is written to it."""

    def __init__(self):
        super().__init__()
        self.written = b""

    def write(self, data):
        self.written += data

    def is_closing(self):
        return False

    def close(self):
        pass


async def application(zoo):
    """The application with its bundles loaded; one image fills the queue where there is one already."""

    async def no_bentoml(scope, receive, send):
        await asyncio.get_running_loop().create_future()

    settings = Settings(models=zoo, default_model="mlp", queue_images=4)
    runtime = Runtime(settings, Metrics())
    application = Application(no_bentoml, lambda: runtime, settings)
    lifespan = asyncio.create_task(application({"type": "lifespan"}, None, None))
    runtime.start(Devices("cpu", Hardware(1)))
    while runtime.phase is not Phase.READY:
        await asyncio.sleep(0.01)
    return application, runtime, lifespan


def request(body):
    content = json.dumps(body).encode()
    head = "POST /generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
    return head.format(len(content)).encode() + content


@pytest.mark.parametrize("name", [*BODIES, "left by its client"])
def test_no_request_is_part_of_a_cycle(zoo, name):
    status, body = BODIES.get(name, (None, {"model": "mlp", "seeds": [1]}))

    async def main():
        served, runtime, lifespan = await application(zoo)
        if status == 429:
            for thread in runtime._threads.values():
                thread._queue.has_room = lambda images: False
        limit_connections(30, lambda status: None)
        config = Config(served, http=Connection, log_config=None)
        config.load()

        async def ask():
            connection = Connection(config, ServerState(), {}, asyncio.get_running_loop())
            transport = Transport()
            connection.connection_made(transport)
            connection.data_received(request(body))
            if status is None:
                await asyncio.sleep(0)
            else:
                while not transport.written:
                    await asyncio.sleep(0.001)
                assert transport.written.startswith(b"HTTP/1.1 %d " % status)
            connection.connection_lost(None)
            await asyncio.sleep(0.01)

        await ask()
        gc.collect()
        gc.disable()
        try:
            for _ in range(TIMES):
                await ask()
            found = gc.collect()
        finally:
            gc.enable()
            lifespan.cancel()
            await asyncio.gather(lifespan, return_exceptions=True)
        return found

    assert asyncio.run(main()) < TIMES
