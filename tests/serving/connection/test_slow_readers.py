"""A client that does not read its answer is cut off in time; one that reads slowly is not."""

import asyncio

import pytest

from tests.serving.in_process import GET, LARGE, LOOPS, dialled, large, listening, read_to_end

LIMIT = 0.3


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


async def cut_off(seconds):
    async with asyncio.timeout(seconds):
        while large.connections:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("asks", [GET, GET * 3, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
def test_who_reads_nothing_is_cut_off(run, asks):
    async def talk(client):
        await asyncio.get_running_loop().sock_sendall(client, asks)
        await asyncio.sleep(LIMIT / 2)
        assert large.connections
        await cut_off(LIMIT * 6)

    run(talk, deadline=LIMIT)


def test_who_is_cut_off_needs_not_wait_for_the_idle_timeout(run):
    """The answer is written, and the connection would be closed in good order: after its last byte."""

    async def talk(client):
        await asyncio.get_running_loop().sock_sendall(client, GET)
        await cut_off(LIMIT * 6)

    run(talk, deadline=LIMIT, keep_alive=LIMIT / 3)


def test_who_reads_slowly_gets_everything(run):
    """A few hundred kilobytes in each limit, which the server's transport sees in lumps of megabytes."""

    async def talk(client):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, GET)
        async with asyncio.timeout(LIMIT * 8):
            for _ in range(20):
                await loop.sock_recv(client, 100_000)
                await asyncio.sleep(LIMIT / 4)
        assert large.connections
        client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        return len(await read_to_end(client))

    assert run(talk, deadline=LIMIT) > LARGE
