"""From a signal to the end: the service lingers, finishes requests in flight, and waits for no client longer."""

import asyncio
import os
import signal

import pytest

from serving import shutdown
from serving.config.settings import Settings
from serving.metrics import Metrics
from serving.runtime import Phase, Runtime
from serving.shutdown import install_signal_handlers
from tests.serving.in_process import GET, LOOPS, Client, application, configured, dialled, large, listening

TERM, INT = signal.SIGTERM, signal.SIGINT


@pytest.fixture
def stop_signals(monkeypatch):
    """The signals that reached the server's own handlers, which would stop it."""
    received = []
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in (TERM, INT)}
    yield received
    for number, handler in before.items():
        signal.signal(number, handler)


def phases_after(signals, *, linger, drain=0.0, phase=Phase.READY):
    """Returns a coroutine function. It returns the phase after each signal, and the seconds until the server stops.

    A request is in flight all the time.
    """

    async def main(stop_signals):
        loop = asyncio.get_running_loop()
        runtime = Runtime(Settings(linger_seconds=linger, drain_seconds=drain), Metrics())
        runtime.phase = phase
        install_signal_handlers(runtime, set())
        seen = []
        try:
            with runtime._in_flight:
                began = loop.time()
                for number in signals:
                    os.kill(os.getpid(), number)
                    await asyncio.sleep(0.05)
                    seen.append(runtime.phase)
                async with asyncio.timeout(5):
                    while not stop_signals:
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
        pytest.param([TERM], [LINGERING], 0.5, 1.5, id="SIGTERM"),
        pytest.param([TERM, TERM], [LINGERING, LINGERING], 0.5, 1.5, id="SIGTERM twice"),
        pytest.param([INT, TERM], [DRAINING, DRAINING], 0.2, 0.45, id="SIGINT, then SIGTERM"),
        pytest.param([TERM, INT], [LINGERING, DRAINING], 0.2, 0.45, id="SIGINT while lingering"),
        pytest.param([INT, INT], [DRAINING, DRAINING], 0.05, 0.19, id="SIGINT twice"),
    ],
)
def test_signals(stop_signals, signals, seen, least, most):
    phases, seconds = asyncio.run(phases_after(signals, linger=0.3, drain=0.2)(stop_signals))
    assert phases == seen
    assert least <= seconds < most


def test_service_that_was_never_ready_does_not_linger(stop_signals):
    phases, _ = asyncio.run(phases_after([TERM], linger=5, drain=0.1, phase=Phase.LOADING)(stop_signals))
    assert phases == [DRAINING]


def test_lingering_service_responds_and_reports_not_ready(zoo):
    """Balancers need some seconds to send their requests elsewhere."""

    async def main():
        async with application(zoo) as (served, runtime):
            cut_short = asyncio.Event()
            lingering = asyncio.create_task(runtime.linger(cut_short))
            await asyncio.sleep(0)
            answers = {path: await get(served, path) for path in PATHS}
            cut_short.set()
            await lingering
            await runtime.drain()
            answers["drained"] = await get(served, "/images/mlp/1.png")
            return answers, runtime.status()["status"]

    async def get(served, path):
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
def test_client_that_reads_nothing_does_not_delay_the_end(stop_signals, monkeypatch, loop_factory):
    monkeypatch.setattr(shutdown, "_LAST_RESPONSES_SECONDS", 0.1)

    async def main():
        loop = asyncio.get_running_loop()
        runtime = Runtime(Settings(linger_seconds=0, drain_seconds=0.2), Metrics())
        async with listening(large) as address:
            install_signal_handlers(runtime, large.connections)
            with dialled(address) as client:
                await loop.sock_sendall(client, GET)
                await asyncio.sleep(0.1)
                os.kill(os.getpid(), TERM)
                await asyncio.sleep(0.1)
                assert stop_signals
                assert large.connections
                async with asyncio.timeout(1):
                    while large.connections:
                        await asyncio.sleep(0.01)
        for number in (TERM, INT):
            loop.remove_signal_handler(number)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
