"""Two kinds of load: wrk's, with so many connections that ask again as soon as they are answered; and arrivals at
random times (Poisson) that wait for nobody, which show what a closed loop hides.
"""

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
    """Of HTTP; 0 for a connection that ended without an answer."""
    milliseconds: float
    """From the moment when it was due until its answer was there."""
    due: float
    """That moment, in seconds from the beginning."""

    @property
    def answered(self) -> float:
        """When its answer was there, in seconds from the beginning."""
        return self.due + self.milliseconds / 1000


def open_loop(server: Server, client: Path, body: str, rate: float, seconds: float) -> list[Arrival]:
    """Sends ``rate`` requests a second at random times, each whether or not those before it are answered.

    ``client`` is what ``build_client`` has made; ``body`` may have a ``%d`` for the seed.
    """
    command = [str(client), str(server.port), str(rate), str(seconds), body]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"The client of random arrivals failed: {ended.stderr.strip()}")
    output = ended.stdout
    fields = (line.split() for line in output.splitlines())
    return [Arrival(int(status), int(micros) / 1000, float(due)) for status, micros, due in fields]


def build_client(folder: Path) -> Path:
    """Compiles the client of open loops."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("The benchmark of random arrivals needs a C compiler (apt-get install gcc libc6-dev).")
    source, program = Path(__file__).with_name("open_loop.c"), folder / "open_loop"
    subprocess.run([compiler, "-O2", "-o", str(program), str(source), "-lm"], check=True)
    return program
