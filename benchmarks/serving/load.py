"""Generates two kinds of load.

In wrk's closed loop, each connection sends its next request after its answer. In the open loop, requests arrive at
random times (Poisson) and wait for no answer, which shows the queueing that a closed loop hides.
"""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.servers import Server


@dataclass(frozen=True)
class Reading:
    """The results of one run of wrk, and the server's CPU time for one request."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    failed: int


def closed_loop(
    server: Server, path: str, body: str, connections: int, seconds: int, accept: str = "application/json"
) -> Reading:
    """Runs wrk. A ``%d`` in ``body`` stands for the seed."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("The benchmark of the service needs wrk (apt-get install wrk).")
    script = Path(__file__).with_name("seeds.lua")
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), server.url]
    before = server.cpu_seconds
    output = subprocess.run([*command, "--", path, body, accept], capture_output=True, text=True, check=True).stdout
    cpu_seconds = server.cpu_seconds - before
    report = json.loads(output.strip().splitlines()[-1])
    return Reading(
        report["requests"] / report["seconds"],
        report["p50_ms"],
        report["p99_ms"],
        cpu_seconds / report["requests"] * 1e6,
        report["failed"],
    )


@dataclass(frozen=True)
class Arrival:
    """The answer to one request of an open loop."""

    status: int
    """HTTP's; 0 if the connection ended without an answer."""
    milliseconds: float
    """From the time when the request was due until its answer had arrived."""
    due: float
    """Seconds from the start of the run."""

    @property
    def answered(self) -> float:
        """Returns when the answer had arrived, in seconds from the start of the run."""
        return self.due + self.milliseconds / 1000


def open_loop(server: Server, client: Path, body: str, rate: float, seconds: float) -> list[Arrival]:
    """Sends ``rate`` requests a second at random times, without waiting for answers.

    ``client`` is the program from ``build_client``. A ``%d`` in ``body`` stands for the seed.
    """
    command = [str(client), str(server.port), str(rate), str(seconds), body]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        raise SystemExit(f"The client of random arrivals failed: {process.stderr.strip()}")
    fields = (line.split() for line in process.stdout.splitlines())
    return [Arrival(int(status), int(micros) / 1000, float(due)) for status, micros, due in fields]


def build_client(folder: Path) -> Path:
    """Compiles the open loop's client, and returns its path."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("The benchmark of random arrivals needs a C compiler (apt-get install gcc libc6-dev).")
    source, program = Path(__file__).with_name("open_loop.c"), folder / "open_loop"
    subprocess.run([compiler, "-O2", "-o", str(program), str(source), "-lm"], check=True)
    return program
