"""The service without a process of its own: its application, and its end of a connection, given bytes by hand."""

import asyncio
import json
from contextlib import asynccontextmanager

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.app import Application
from serving.connection import Connection, limit_connections
from serving.device import Devices, Hardware
from serving.metrics import Metrics
from serving.runtime import Phase, Runtime
from serving.settings import Settings


@asynccontextmanager
async def application(zoo, **settings):
    """The application and its runtime, ready."""

    async def no_bentoml(scope, receive, send):
        await asyncio.get_running_loop().create_future()

    chosen = Settings(models=zoo, default_model="mlp", queue_images=4, **settings)
    runtime = Runtime(chosen, Metrics())
    served = Application(no_bentoml, lambda: runtime, chosen)
    lifespan = asyncio.create_task(served({"type": "lifespan"}, None, None))
    runtime.start(Devices("cpu", Hardware(1)))
    while runtime.phase is not Phase.READY:
        await asyncio.sleep(0.01)
    yield served, runtime
    lifespan.cancel()
    await asyncio.gather(lifespan, return_exceptions=True)


def queue_of(runtime, model):
    """The queue of a model's newest version."""
    return runtime.thread_of(runtime.catalogue.find(model, None))._queue


def request(body, *headers):
    """The bytes of ``POST /generate``; ``body`` is an object, or bytes that need not be JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = ["POST /generate HTTP/1.1", "Host: figment", f"Content-Length: {len(content)}", *headers]
    if not any(header.lower().startswith("content-type:") for header in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode() + content


def configured(served, sheds=True):
    """Uvicorn's configuration for an application."""
    limit_connections(served, sheds=sheds, deadline_seconds=30, keep_alive_seconds=75)
    config = Config(served, http=Connection, log_config=None)
    config.load()
    return config


class Client(asyncio.Transport):
    """A client's connection: what the server writes to it, write by write, and the answers in that."""

    def __init__(self, config):
        super().__init__()
        self.answers = []
        self.packets = []
        self._parser = httptools.HttpResponseParser(self)
        self.server_end = Connection(config, ServerState(), {}, asyncio.get_running_loop())
        self.server_end.connection_made(self)

    def send(self, data):
        """Has these bytes arrive at the server, all at once."""
        self.server_end.data_received(data)

    async def answered(self, times=1):
        """The answers, once there are so many: status, headers and body of each."""
        async with asyncio.timeout(5):
            while len(self.answers) < times:
                await asyncio.sleep(0.001)
        return self.answers

    def leave(self):
        """Closes the connection, and keeps nothing of it."""
        self.server_end.connection_lost(None)
        del self.server_end, self._parser

    # asyncio.Transport
    def write(self, data):
        self.packets.append(data)
        self._parser.feed_data(data)

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass

    def is_closing(self):
        return False

    def close(self):
        pass

    def get_write_buffer_size(self):
        return 0

    # httptools.HttpResponseParser
    def on_message_begin(self):
        self._headers, self._body = {}, b""

    def on_header(self, name, value):
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, body):
        self._body += body

    def on_message_complete(self):
        if self._parser.get_status_code() != 100:
            self.answers.append((self._parser.get_status_code(), self._headers, self._body))
