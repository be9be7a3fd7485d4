"""From a signal to the end: the service answers for a while, finishes what it has, and waits for nobody longer."""

import asyncio
import os
import signal

import pytest

from serving import shutdown
from serving.config.settings import Settings
from serving.metrics import Metrics
from serving.runtime import Phase, Runtime
from serving.shutdown import leave_on_signals
from tests.serving.in_process import GET, LOOPS, Client, application, configured, dialled, large, listening

TERM, INT = signal.SIGTERM, signal.SIGINT


@pytest.fixture
def stopped(monkeypatch):
    """The signals that have come to the server's own handlers, which would stop it."""
    stopped = []
    before = {number: signal.signal(number, lambda number, _: stopped.append(number)) for number in (TERM, INT)}
    yield stopped
    for number, handler in before.items():
        signal.signal(number, handler)


def phases_after(signals, *, linger, drain=0.0, phase=Phase.READY):
    """The phases that a service with a request in hand goes through, each with its seconds, until its server stops."""

    async def main(stopped):
        loop = asyncio.get_running_loop()
        runtime = Runtime(Settings(linger_seconds=linger, drain_seconds=drain), Metrics())
        runtime.phase = phase
        leave_on_signals(runtime, set())
        seen = []
        try:
            with runtime._hand:
                began = loop.time()
                for number in signals:
                    os.kill(os.getpid(), number)
                    await asyncio.sleep(0.05)
                    seen.append(runtime.phase)
                async with asyncio.timeout(5):
                    while not stopped:
                        await asyncio.sleep(0.005)
                return seen, loop.time() - began
        finally:
            for number in (TERM, INT):
                loop.remove_signal_handler(number)

    return main


LINGERING, DRAINING = Phase.LINGERING, Phase.DRAINING


@pytest.mark.parametrize(
    ("signals", "seen", "least", "most"),
    [
        pytest.param([TERM], [LINGERING], 0.5, 1.5, id="told to end"),
        pytest.param([TERM, TERM], [LINGERING, LINGERING], 0.5, 1.5, id="told twice"),
        pytest.param([INT, TERM], [DRAINING, DRAINING], 0.2, 0.45, id="from a keyboard, and by the arbiter"),
        pytest.param([TERM, INT], [LINGERING, DRAINING], 0.2, 0.45, id="from a keyboard while it lingers"),
        pytest.param([INT, INT], [DRAINING, DRAINING], 0.05, 0.19, id="twice from a keyboard"),
    ],
)
def test_signals(stopped, signals, seen, least, most):
    phases, seconds = asyncio.run(phases_after(signals, linger=0.3, drain=0.2)(stopped))
    assert phases == seen
    assert least <= seconds < most


def test_what_was_never_ready_does_not_linger(stopped):
    phases, _ = asyncio.run(phases_after([TERM], linger=5, drain=0.1, phase=Phase.LOADING)(stopped))
    assert phases == [DRAINING]


def test_while_it_lingers_it_answers_and_says_that_it_goes(zoo):
    """Not ready, and yet working: balancers need some seconds to send their requests elsewhere."""

    async def main():
        async with application(zoo) as (served, runtime):
            is_over = asyncio.Event()
            lingering = asyncio.create_task(runtime.linger(is_over))
            await asyncio.sleep(0)
            answers = {path: await ask(served, path) for path in PATHS}
            is_over.set()
            await lingering
            await runtime.drain()
            answers["drained"] = await ask(served, "/images/mlp/1.png")
            return answers, runtime.status()["status"]

    async def ask(served, path):
        client = Client(configured(served))
        client.send(f"GET {path} HTTP/1.1\r\nHost: figment\r\n\r\n".encode())
        ((status, headers, _),) = await client.answered()
        assert headers["connection"] == "close"
        assert client.is_closed
        client.leave()
        return status

    answers, status = asyncio.run(main())
    assert answers == PATHS | {"drained": 503}
    assert status == "draining"


PATHS = {
    "/images/mlp/1.png": 200,
    "/v2/models/mlp": 200,
    "/models": 200,
    "/livez": 200,
    "/readyz": 503,
    "/v2/health/ready": 503,
    "/v2/models/mlp/ready": 503,
    "/nowhere": 404,
}


@pytest.mark.parametrize("loop_factory", LOOPS.values(), ids=LOOPS.keys())
def test_who_reads_nothing_does_not_hold_up_the_end(stopped, monkeypatch, loop_factory):
    monkeypatch.setattr(shutdown, "_LAST_ANSWERS_SECONDS", 0.1)

    async def main():
        loop = asyncio.get_running_loop()
        runtime = Runtime(Settings(linger_seconds=0, drain_seconds=0.2), Metrics())
        async with listening(large) as address:
            leave_on_signals(runtime, large.connections)
            with dialled(address) as client:
                await loop.sock_sendall(client, GET)
                await asyncio.sleep(0.1)
                os.kill(os.getpid(), TERM)
                await asyncio.sleep(0.1)
                assert stopped
                assert large.connections
                async with asyncio.timeout(1):
                    while large.connections:
                        await asyncio.sleep(0.01)
        for number in (TERM, INT):
            loop.remove_signal_handler(number)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
