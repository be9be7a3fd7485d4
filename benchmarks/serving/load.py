"""Two kinds of load: wrk's, with so many connections that ask again as soon as they are answered; and arrivals at
random times (Poisson) that wait for nobody, which show what a closed loop hides.
"""

import asyncio
import json
import random
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.serving.servers import Server

_CALLERS = 64  # connections that are there from the start
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """What one run of wrk saw, and the server's own time on the cores for one request."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    failed: int


def closed_loop(
    server: Server, path: str, body: str, connections: int, seconds: int, accept: str = "application/json"
) -> Reading:
    """Runs wrk; ``body`` may have a ``%d`` for the seed."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("The benchmark of the service needs wrk (apt-get install wrk).")
    script = Path(__file__).with_name("seeds.lua")
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), server.url]
    before = server.cpu_seconds
    output = subprocess.run([*command, "--", path, body, accept], capture_output=True, text=True, check=True).stdout
    cpu_seconds = server.cpu_seconds - before
    told = json.loads(output.strip().splitlines()[-1])
    return Reading(
        told["requests"] / told["seconds"],
        told["p50_ms"],
        told["p99_ms"],
        cpu_seconds / told["requests"] * 1e6,
        told["failed"],
    )


@dataclass(frozen=True)
class Arrival:
    """How one request of an open loop went."""

    status: int
    milliseconds: float


def open_loop(server: Server, body: str, rate: float, seconds: float) -> list[Arrival]:
    """Sends ``rate`` requests a second at random times, each whether or not those before it are answered."""
    return uvloop.run(_open_loop(server.port, body, rate, seconds))


async def _open_loop(port: int, body: str, rate: float, seconds: float) -> list[Arrival]:
    loop = asyncio.get_running_loop()
    arrivals: list[Arrival] = []
    free: list[_Caller] = []
    every: list[_Caller] = []

    async def new_caller() -> _Caller:
        _, caller = await loop.create_connection(lambda: _Caller(arrivals, free), "127.0.0.1", port)
        every.append(caller)
        return caller

    async def call_on_new(seed: int) -> None:
        (await new_caller()).ask(body % seed)

    free += await asyncio.gather(*(new_caller() for _ in range(_CALLERS)))
    clock = random.Random(0)
    begin = due = time.monotonic()
    seed = 0
    async with asyncio.TaskGroup() as group:
        while due < begin + seconds:
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            seed += 1
            if free:
                free.pop().ask(body % seed)
            else:
                group.create_task(call_on_new(seed))
            due += clock.expovariate(rate)
    while len(free) < len(every):
        await asyncio.sleep(0.01)
    for caller in every:
        caller.close()
    return arrivals


class _Caller(asyncio.Protocol):
    """A connection that asks, notes how that went, and is free again. Bare, as it shares the cores with the server."""

    def __init__(self, arrivals: list[Arrival], free: list["_Caller"]) -> None:
        self._arrivals = arrivals
        self._free = free
        self._answer = b""

    def connection_made(self, transport: asyncio.WriteTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def ask(self, content: str) -> None:
        self._started = time.monotonic()
        self._transport.write(
            b"POST /generate HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\naccept: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(content), content.encode())
        )

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if end and length and len(body) == int(length[1]):
            self._arrivals.append(Arrival(int(head[9:12]), (time.monotonic() - self._started) * 1000))
            self._answer = b""
            self._free.append(self)

    def close(self) -> None:
        self._transport.close()
