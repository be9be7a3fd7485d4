"""A client that sends no more is answered while it may still read, and its work is cancelled once it has gone."""

import asyncio
import socket

import pytest

from serving.connection.client_state import cancel_on_disconnect
from serving.errors import ApiError
from tests.serving.in_process import LOOPS, dialled, listening, read_to_end

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODY = b"0123456789"


class SlowApplication:
    """An application with slow responses. It counts requests, and clients that disconnected."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.started = self.disconnected = 0

    async def __call__(self, scope, receive, send):
        self.started += 1
        try:
            with cancel_on_disconnect(scope):
                while (message := await receive()).get("more_body"):
                    pass
                if message["type"] == "http.request":
                    await asyncio.sleep(self.seconds)
        except ApiError:
            self.disconnected += 1
            return
        length = (b"content-length", b"%d" % len(BODY))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": BODY})


def get(version="1.1", path="/"):
    return f"GET {path} HTTP/{version}\r\nHost: figment\r\n\r\n".encode()


@pytest.fixture(params=LOOPS.values(), ids=LOOPS.keys())
def run(request):
    """Runs an application and a client's coroutine in one event loop."""

    def run(application, talk):
        async def main():
            async with listening(application) as address:
                with dialled(address) as client:
                    return await talk(client)

        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main())

    return run


async def until(condition, seconds=3):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def half_close(client, data):
    await asyncio.get_running_loop().sock_sendall(client, data)
    client.shutdown(socket.SHUT_WR)
    return await read_to_end(client)


def without_interim(content):
    while content.startswith(CONTINUE):
        content = content.removeprefix(CONTINUE)
    return content


def test_half_closed_client_is_answered(run):
    slow = SlowApplication(0.4)
    content = run(slow, lambda client: half_close(client, get()))
    assert content.startswith(CONTINUE), "no probe was sent that a closed socket would have answered with a reset"
    response = without_interim(content)
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in response
    assert response.endswith(BODY)
    assert slow.disconnected == 0


def test_fast_response_comes_without_a_probe(run):
    assert run(SlowApplication(0), lambda client: half_close(client, get())).startswith(b"HTTP/1.1 200 OK\r\n")


def test_complete_requests_before_the_end_are_answered(run):
    for half in (b"", b"GET /", b"POST / HTTP/1.1\r\nHost: figment\r\nContent-Length: 9\r\n\r\na"):
        slow = SlowApplication(0.03)
        content = run(slow, lambda client, half=half: half_close(client, get() + get() + half))
        assert content.count(b"HTTP/1.1 200 OK\r\n") == content.count(BODY) == slow.started == 2
        assert content.endswith(BODY)


def test_http_1_0_client_gets_no_probe(run):
    content = run(SlowApplication(0.2), lambda client: half_close(client, get("1.0")))
    assert content.startswith(b"HTTP/1.1 200 OK\r\n")
    assert content.endswith(BODY)


@pytest.mark.parametrize("waits", [0, 0.1])
def test_work_for_a_disconnected_client_is_cancelled(run, waits):
    slow = SlowApplication(30)

    async def disconnect(client):
        await asyncio.get_running_loop().sock_sendall(client, get())
        await until(lambda: slow.started)
        await asyncio.sleep(waits)
        client.close()
        await until(lambda: slow.disconnected == 1)

    run(slow, disconnect)


def test_work_is_cancelled_if_a_half_closed_client_disconnects(run):
    slow = SlowApplication(30)

    async def disconnect(client):
        await asyncio.get_running_loop().sock_sendall(client, get())
        client.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.2)
        assert slow.disconnected == 0
        client.close()
        await until(lambda: slow.disconnected == 1)

    run(slow, disconnect)


def test_incomplete_body_is_a_disconnect(run):
    slow = SlowApplication(30)
    head = b"POST / HTTP/1.1\r\nHost: figment\r\nContent-Length: 9\r\n\r\na"
    assert run(slow, lambda client: half_close(client, head)) == b""
    assert slow.disconnected == slow.started == 1
