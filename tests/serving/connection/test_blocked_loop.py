"""What a client sent in time is read, however long the loop was away; the wait for a first word is no request's."""

import asyncio
import socket
import time
from functools import partial

import pytest
import uvloop
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.connection.client_state import cancel_on_disconnect
from serving.connection.connection import Connection, limit_connections
from serving.errors import ApiError
from serving.http.request_record import RequestRecord

LIMIT = 0.2
SILENCE = 0.4
HEAD = b"POST / HTTP/1.1\r\nHost: figment\r\nContent-Length: 2\r\n"


async def echo(scope, receive, send):
    body, status = b"", 200
    try:
        with cancel_on_disconnect(scope):
            if scope["path"] == "/later":
                await asyncio.sleep(LIMIT * 2)
            more = True
            while more:
                message = await receive()
                body, more = body + message.get("body", b""), message.get("more_body")
    except ApiError as error:
        body, status = b"--", error.status
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": body[:2]})


async def busy(seconds, begin):
    """Has the loop busy with another connection for so long; its timers are what it turns to next."""
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


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def served(request):
    """Has a coroutine talk to a server with that limit, both in one loop; gives what it makes of the client's end."""

    async def main(talk):
        echo.connections = set()
        echo.record_rejection = lambda error: RequestRecord(b"id", "other", 0)
        limit_connections(echo, rejects_early=False, deadline_seconds=LIMIT, keep_alive_seconds=SILENCE)
        config = Config(echo, http=Connection, log_config=None)
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(partial(Connection, config, ServerState(), {}, loop), "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            await asyncio.sleep(LIMIT / 4)  # for the server to accept it
            await talk(client)
            answer = await asyncio.wait_for(loop.sock_recv(client, 65536), 5)
        server.close()
        return answer

    with asyncio.Runner(loop_factory=request.param) as runner:
        yield lambda talk: runner.run(main(talk))


@pytest.mark.parametrize("early", [b"", HEAD[:20], HEAD + b"\r\n", HEAD + b"\r\na"])
def test_what_waits_unread_is_not_late(served, early):
    whole = HEAD + b"\r\nab"

    async def talk(client):
        client.send(early)
        await asyncio.sleep(LIMIT / 4)
        await busy(SILENCE * 2, lambda: client.send(whole[len(early) :]))

    answer = served(talk)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"ab")


def test_the_next_request_waits_unread_while_the_connection_turns_idle(served):
    async def talk(client):
        client.send(HEAD + b"\r\nab")
        assert (await asyncio.get_running_loop().sock_recv(client, 65536)).endswith(b"ab")
        await asyncio.sleep(SILENCE * 0.8)
        await busy(SILENCE, lambda: client.send(HEAD + b"\r\ncd"))

    assert served(talk).endswith(b"cd")


def test_the_time_begins_with_the_first_byte(served):
    async def talk(client):
        await asyncio.sleep(LIMIT * 1.2)
        client.send(HEAD)
        await asyncio.sleep(LIMIT / 2)
        client.send(b"\r\nab")

    assert served(talk).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("early", [HEAD, HEAD + b"\r\na"])
def test_what_is_late_is_refused(served, early):
    async def talk(client):
        client.send(early)
        await asyncio.sleep(LIMIT * 2)

    assert served(talk).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("lines", [b"\r\n", b"\r\n\r\n\r\n", b"\n"])
def test_empty_lines_keep_no_connection_open(served, lines):
    """Parsers skip them between two requests; they are no request, and no reason to wait for one."""

    async def talk(client):
        client.send(HEAD + b"\r\nab")
        assert (await asyncio.get_running_loop().sock_recv(client, 65536)).endswith(b"ab")
        for _ in range(2):
            await asyncio.sleep(SILENCE / 4)
            client.send(lines)

    began = time.monotonic()
    assert served(talk) == b""
    assert time.monotonic() - began < SILENCE * 3


@pytest.mark.parametrize("early", [b"", HEAD + b"\r\nab"])
def test_the_time_in_which_the_server_does_not_read_is_not_the_clients(served, early):
    """A body is read up to a limit until the application asks for more; so is what follows a running request."""
    size = 300_000
    head = b"POST /later HTTP/1.1\r\nHost: figment\r\nContent-Length: %d\r\n\r\n" % size

    async def talk(client):
        loop = asyncio.get_running_loop()
        if early:
            client.send(early.replace(b"/", b"/later", 1))
            await asyncio.sleep(LIMIT / 4)
        await loop.sock_sendall(client, head + b"x" * size)
        if early:
            assert (await loop.sock_recv(client, 65536)).endswith(b"ab")

    answer = served(talk)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"xx")
