"""A client that sends no more is answered as long as it may still read, and left as soon as it cannot."""

import asyncio
import socket

import pytest

from serving.connection.client_state import cancel_on_disconnect
from serving.errors import ApiError
from tests.serving.in_process import LOOPS, dialled, listening, read_to_end

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODY = b"0123456789"


class Slow:
    """An application whose answers take a while, and which counts who has left."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.begun = self.left = 0

    async def __call__(self, scope, receive, send):
        self.begun += 1
        try:
            with cancel_on_disconnect(scope):
                while (message := await receive()).get("more_body"):
                    pass
                if message["type"] == "http.request":
                    await asyncio.sleep(self.seconds)
        except ApiError:
            self.left += 1
            return
        length = (b"content-length", b"%d" % len(BODY))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": BODY})


def get(version="1.1", path="/"):
    return f"GET {path} HTTP/{version}\r\nHost: figment\r\n\r\n".encode()


@pytest.fixture(params=LOOPS.values(), ids=LOOPS.keys())
def run(request):
    """Runs a conversation of an application and a client in one loop."""

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


def test_who_has_sent_everything_is_answered(run):
    slow = Slow(0.4)
    content = run(slow, lambda client: half_close(client, get()))
    assert content.startswith(CONTINUE), "nothing was sent that a client which has gone would have answered"
    answer = without_interim(content)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in answer
    assert answer.endswith(BODY)
    assert slow.left == 0


def test_a_quick_answer_comes_alone(run):
    assert run(Slow(0), lambda client: half_close(client, get())).startswith(b"HTTP/1.1 200 OK\r\n")


def test_all_that_came_before_the_end_is_answered_and_half_a_request_is_not(run):
    for half in (b"", b"GET /", b"POST / HTTP/1.1\r\nHost: figment\r\nContent-Length: 9\r\n\r\na"):
        slow = Slow(0.03)
        content = run(slow, lambda client, half=half: half_close(client, get() + get() + half))
        assert content.count(b"HTTP/1.1 200 OK\r\n") == content.count(BODY) == slow.begun == 2
        assert content.endswith(BODY)


def test_a_client_of_1_0_gets_nothing_that_it_does_not_know(run):
    content = run(Slow(0.2), lambda client: half_close(client, get("1.0")))
    assert content.startswith(b"HTTP/1.1 200 OK\r\n")
    assert content.endswith(BODY)


@pytest.mark.parametrize("waits", [0, 0.1])
def test_who_has_gone_is_not_worked_for(run, waits):
    slow = Slow(30)

    async def leave(client):
        await asyncio.get_running_loop().sock_sendall(client, get())
        await until(lambda: slow.begun)
        await asyncio.sleep(waits)
        client.close()
        await until(lambda: slow.left == 1)

    run(slow, leave)


def test_who_goes_after_he_has_closed_half_is_not_worked_for(run):
    slow = Slow(30)

    async def leave(client):
        await asyncio.get_running_loop().sock_sendall(client, get())
        client.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.2)
        assert slow.left == 0
        client.close()
        await until(lambda: slow.left == 1)

    run(slow, leave)


def test_half_a_body_is_a_departure(run):
    slow = Slow(30)
    head = b"POST / HTTP/1.1\r\nHost: figment\r\nContent-Length: 9\r\n\r\na"
    assert run(slow, lambda client: half_close(client, head)) == b""
    assert slow.left == slow.begun == 1
