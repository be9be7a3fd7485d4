"""Data sent in time is read, however long the event loop was blocked. The wait for a first byte has its own limit."""

import asyncio
import socket
import time

import pytest

from serving.connection.client_state import cancel_on_disconnect
from serving.errors import ApiError
from tests.serving.in_process import LOOPS, dialled, listening

DEADLINE = 0.2
KEEP_ALIVE = 0.4
HEAD = b"POST / HTTP/1.1\r\nHost: figment\r\nContent-Length: 2\r\n"
WAITS = {"/later": DEADLINE * 2, "/idle": KEEP_ALIVE * 1.5}


async def echo(scope, receive, send):
    body, status = b"", 200
    try:
        with cancel_on_disconnect(scope):
            if scope["path"] in WAITS:
                await asyncio.sleep(WAITS[scope["path"]])
            more = True
            while more:
                message = await receive()
                body, more = body + message.get("body", b""), message.get("more_body")
    except ApiError as error:
        body, status = b"--", error.status
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": body[:2]})


async def block_loop(seconds, begin):
    """Blocks the event loop for some seconds, in the handler of another connection. Its timers are handled next."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    here, there = socket.socketpair()

    def work():
        loop.remove_reader(here)
        begin()
        time.sleep(seconds)
        done.set()

    with here, there:
        loop.add_reader(here, work)
        there.send(b"a")
        await done.wait()


@pytest.fixture(params=LOOPS.values(), ids=LOOPS.keys())
def run_client(request):
    """Runs a client coroutine and a server in one loop. Returns the bytes that the client receives after it."""

    async def main(talk):
        async with listening(echo, DEADLINE, KEEP_ALIVE) as address:
            with dialled(address) as client:
                await asyncio.sleep(DEADLINE / 4)  # for the server to accept the connection
                await talk(client)
                return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 65536), 5)

    with asyncio.Runner(loop_factory=request.param) as runner:
        yield lambda talk: runner.run(main(talk))


@pytest.mark.parametrize("early", [b"", HEAD[:20], HEAD + b"\r\n", HEAD + b"\r\na"])
def test_unread_data_is_not_late(run_client, early):
    whole = HEAD + b"\r\nab"

    async def talk(client):
        client.send(early)
        await asyncio.sleep(DEADLINE / 4)
        await block_loop(KEEP_ALIVE * 2, lambda: client.send(whole[len(early) :]))

    response = run_client(talk)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.endswith(b"ab")


def test_unread_next_request_keeps_an_idle_connection_open(run_client):
    async def talk(client):
        client.send(HEAD + b"\r\nab")
        assert (await asyncio.get_running_loop().sock_recv(client, 65536)).endswith(b"ab")
        await asyncio.sleep(KEEP_ALIVE * 0.8)
        await block_loop(KEEP_ALIVE, lambda: client.send(HEAD + b"\r\ncd"))

    assert run_client(talk).endswith(b"cd")


@pytest.mark.parametrize("cut", [1, len(HEAD), len(HEAD) + 3])
def test_idle_timeout_does_not_end_a_request_that_began_before_the_last_response(run_client, cut):
    """The head of the second request arrives in two parts, and the first response is sent between them."""
    second = HEAD.replace(b"/", b"/idle", 1) + b"\r\ncd"

    async def talk(client):
        client.send(HEAD + b"\r\nab" + second[:cut])
        assert (await asyncio.get_running_loop().sock_recv(client, 65536)).endswith(b"ab")
        client.send(second[cut:])

    assert run_client(talk).endswith(b"cd")


def test_request_that_stops_arriving_is_rejected_and_not_just_closed(run_client):
    """Between two requests a connection is closed without an answer; within a request it is not."""

    async def talk(client):
        client.send(HEAD + b"\r\nab" + HEAD[:20])
        assert (await asyncio.get_running_loop().sock_recv(client, 65536)).endswith(b"ab")

    assert run_client(talk).startswith(b"HTTP/1.1 408 ")


def test_deadline_starts_with_the_first_byte(run_client):
    async def talk(client):
        await asyncio.sleep(DEADLINE * 1.2)
        client.send(HEAD)
        await asyncio.sleep(DEADLINE / 2)
        client.send(b"\r\nab")

    assert run_client(talk).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("early", [HEAD, HEAD + b"\r\na"])
def test_late_request_is_rejected(run_client, early):
    async def talk(client):
        client.send(early)
        await asyncio.sleep(DEADLINE * 2)

    assert run_client(talk).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("lines", [b"\r\n", b"\r\n\r\n\r\n", b"\n"])
def test_empty_lines_do_not_keep_a_connection_open(run_client, lines):
    """Parsers skip them between two requests."""

    async def talk(client):
        client.send(HEAD + b"\r\nab")
        assert (await asyncio.get_running_loop().sock_recv(client, 65536)).endswith(b"ab")
        for _ in range(2):
            await asyncio.sleep(KEEP_ALIVE / 4)
            client.send(lines)

    began = time.monotonic()
    assert run_client(talk) == b""
    assert time.monotonic() - began < KEEP_ALIVE * 3


@pytest.mark.parametrize("early", [b"", HEAD + b"\r\nab"])
def test_time_in_which_the_server_does_not_read_does_not_count(run_client, early):
    """Bodies, and data after a running request, are read up to a limit until the application asks for more."""
    size = 300_000
    head = b"POST /later HTTP/1.1\r\nHost: figment\r\nContent-Length: %d\r\n\r\n" % size

    async def talk(client):
        loop = asyncio.get_running_loop()
        if early:
            client.send(early.replace(b"/", b"/later", 1))
            await asyncio.sleep(DEADLINE / 4)
        await loop.sock_sendall(client, head + b"x" * size)
        if early:
            assert (await loop.sock_recv(client, 65536)).endswith(b"ab")

    response = run_client(talk)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.endswith(b"xx")
