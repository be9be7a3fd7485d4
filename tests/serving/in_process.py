"""The service in the test's process: its application, and the server's end of a connection fed with bytes."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import httptools
import uvloop
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.app import Application
from serving.config.settings import Settings
from serving.connection.connection import Connection, limit_connections
from serving.http.request_record import RequestRecord
from serving.inference.device import Devices, Hardware
from serving.loading.start import start_loading
from serving.metrics import Metrics
from serving.runtime import Phase, Runtime

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def application(zoo, tracer=None, **settings):
    """The application and its runtime, ready."""

    async def no_bentoml(scope, receive, send):
        await asyncio.get_running_loop().create_future()

    chosen = Settings(**({"models": zoo, "default_model": "mlp", "queue_images": 4} | settings))
    runtime = Runtime(chosen, Metrics())
    served = Application(no_bentoml, lambda: runtime, chosen, tracer)
    lifespan = asyncio.create_task(served({"type": "lifespan"}, None, None))
    runtime.start(start_loading(runtime.settings, Devices("cpu", Hardware(1))))
    while runtime.phase is not Phase.READY:
        await asyncio.sleep(0.01)
    yield served, runtime
    lifespan.cancel()
    await asyncio.gather(lifespan, return_exceptions=True)


def queue_of(runtime, model):
    """The queue of a model's newest version."""
    return runtime.scheduler_for(runtime.registry.find(model, None))._queue


def json_bytes(content):
    """JSON as a client sends it."""
    return json.dumps(content).encode()


def request(body, *headers, path="/generate"):
    """The bytes of a ``POST``; ``body`` is an object, or bytes that need not be JSON."""
    content = body if isinstance(body, bytes) else json_bytes(body)
    lines = [f"POST {path} HTTP/1.1", "Host: figment", f"Content-Length: {len(content)}", *headers]
    if not any(header.lower().startswith("content-type:") for header in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode() + content


def configured(served, rejects_early=True):
    """Uvicorn's configuration for an application."""
    limit_connections(served, rejects_early=rejects_early, deadline_seconds=30, keep_alive_seconds=75)
    config = Config(served, http=Connection, log_config=None)
    config.load()
    return config


class InProcess:
    """The application in an event loop that runs only during a call."""

    def __init__(self, zoo, tracer=None, **settings):
        self._loop = asyncio.new_event_loop()
        self._opened = application(zoo, tracer, **settings)
        self.application, self.runtime = self._loop.run_until_complete(self._opened.__aenter__())

    def close(self):
        self._loop.run_until_complete(self._opened.__aexit__(None, None, None))
        self.runtime.close()
        self._loop.close()

    def ask(self, data):
        """Returns the response to a request's bytes: status, headers and body."""
        (answer,) = self.ask_all(data, 1)
        return answer

    def ask_all(self, data, times):
        """Returns this number of responses to the bytes of one connection."""

        async def main():
            client = Client(configured(self.application))
            client.send(data)
            answers = await client.answered(times)
            client.leave()
            return answers

        return self._loop.run_until_complete(main())

    def metric(self, name, **labels):
        """Returns a sample's value; 0 before the first one."""
        return self.runtime.metrics._registry.get_sample_value(name, labels) or 0


GET = b"GET / HTTP/1.1\r\nHost: figment\r\n\r\n"

# Bytes; the kernel buffers less for a client that does not read.
LARGE = 30_000_000


async def large(scope, receive, send):
    """An application with long answers."""
    headers = [(b"content-length", b"%d" % LARGE)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(LARGE)})


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@asynccontextmanager
async def listening(app, deadline=30.0, keep_alive=75.0):
    """Starts a server with real sockets for any application; yields its address."""
    app.connections = set()
    app.record_rejection = lambda error, headers, size: RequestRecord(b"id", None, "other", 0)
    limit_connections(app, rejects_early=False, deadline_seconds=deadline, keep_alive_seconds=keep_alive)
    config = Config(app, http=Connection, log_config=None)
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Connection, config, ServerState(), {}, loop), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()


@contextmanager
def dialled(address, receive_buffer=None):
    """A client's socket, for the loop's own methods."""
    with socket.socket() as client:
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(address)
        client.setblocking(False)
        yield client


async def read_to_end(client):
    """Reads until the connection is closed."""
    content = bytearray()
    async with asyncio.timeout(10):
        while part := await asyncio.get_running_loop().sock_recv(client, 65536):
            content += part
    return bytes(content)


class Client(asyncio.Transport):
    """A client's connection: the server's writes one by one, and the responses in them."""

    def __init__(self, config):
        super().__init__()
        self.is_closed = False
        self.answers = []
        self.packets = []
        self._parser = httptools.HttpResponseParser(self)
        self.server_end = Connection(config, ServerState(), {}, asyncio.get_running_loop())
        self.server_end.connection_made(self)

    def send(self, data):
        """Delivers these bytes to the server at once."""
        self.server_end.data_received(data)

    async def answered(self, times=1):
        """Waits for this number of responses; returns status, headers and body of each."""
        async with asyncio.timeout(5):
            while len(self.answers) < times:
                await asyncio.sleep(0.001)
        return self.answers

    def leave(self):
        """Closes the connection."""
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
        return self.is_closed

    def close(self):
        self.is_closed = True

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
