"""A connection whose client does not read its response is aborted in time; a slow reader is not."""

import asyncio

import pytest

from tests.serving.in_process import GET, LARGE, LOOPS, dialled, large, listening, read_to_end

DEADLINE = 0.3


@pytest.fixture(params=LOOPS.values(), ids=LOOPS.keys())
def run(request):
    def run(talk, **limits):
        async def main():
            async with listening(large, **limits) as address:
                with dialled(address, receive_buffer=262144) as client:
                    return await talk(client)

        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main())

    return run


async def wait_for_abort(seconds):
    async with asyncio.timeout(seconds):
        while large.connections:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("sent", [GET, GET * 3, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
def test_client_that_reads_nothing_is_aborted(run, sent):
    async def talk(client):
        await asyncio.get_running_loop().sock_sendall(client, sent)
        await asyncio.sleep(DEADLINE / 2)
        assert large.connections
        await wait_for_abort(DEADLINE * 6)

    run(talk, deadline=DEADLINE)


def test_abort_does_not_wait_for_the_idle_timeout(run):
    """The response is written; a regular close would wait until its last byte is read."""

    async def talk(client):
        await asyncio.get_running_loop().sock_sendall(client, GET)
        await wait_for_abort(DEADLINE * 6)

    run(talk, deadline=DEADLINE, keep_alive=DEADLINE / 3)


def test_slow_reader_gets_the_whole_response(run):
    """Some hundred kilobytes per deadline. The server's transport sees this progress in steps of megabytes."""

    async def talk(client):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, GET)
        async with asyncio.timeout(DEADLINE * 8):
            for _ in range(20):
                await loop.sock_recv(client, 100_000)
                await asyncio.sleep(DEADLINE / 4)
        assert large.connections
        client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        return len(await read_to_end(client))

    assert run(talk, deadline=DEADLINE) > LARGE
