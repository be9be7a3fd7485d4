"""Two kinds of load: wrk's, with so many connections that ask again as soon as they are answered; and arrivals at
random times (Poisson) that wait for nobody, which show what a closed loop hides.
"""

import asyncio
import json
import random
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.servers import Server


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
    return asyncio.run(_open_loop(server.port, body, rate, seconds))


async def _open_loop(port: int, body: str, rate: float, seconds: float) -> list[Arrival]:
    arrivals: list[Arrival] = []
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(seed: int) -> None:
        started = time.monotonic()
        reader, writer = free.pop() if free else await asyncio.open_connection("127.0.0.1", port)
        content = (body % seed).encode()
        writer.write(
            b"POST /generate HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\naccept: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(content), content)
        )
        status, *headers = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next(header for header in headers if header.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        arrivals.append(Arrival(int(status.split()[1]), (time.monotonic() - started) * 1000))
        free.append((reader, writer))

    clock = random.Random(0)
    begin = due = time.monotonic()
    seed = 0
    async with asyncio.TaskGroup() as group:
        while due < begin + seconds:
            await asyncio.sleep(due - time.monotonic())
            seed += 1
            group.create_task(ask(seed))
            due += clock.expovariate(rate)
    for _, writer in free:
        writer.close()
    return arrivals
