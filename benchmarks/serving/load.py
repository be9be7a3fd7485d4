"""Load from wrk: so many connections, each asking again as soon as it is answered."""

import json
import shutil
import subprocess
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


def closed_loop(server: Server, path: str, body: str, connections: int, seconds: int) -> Reading:
    """Runs wrk; ``body`` has a ``%d`` for the seed."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("The benchmark of the service needs wrk (apt-get install wrk).")
    script = Path(__file__).with_name("seeds.lua")
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), server.url]
    before = server.cpu_seconds
    output = subprocess.run([*command, "--", path, body], capture_output=True, text=True, check=True).stdout
    cpu_seconds = server.cpu_seconds - before
    told = json.loads(output.strip().splitlines()[-1])
    return Reading(
        told["requests"] / told["seconds"],
        told["p50_ms"],
        told["p99_ms"],
        cpu_seconds / told["requests"] * 1e6,
        told["failed"],
    )
