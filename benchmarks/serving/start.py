"""Measures the start: from ``bentoml serve`` to ready, with the bundles that ship, by stage.

    python -m benchmarks.serving.start [--rounds 7] [--against FOLDER]

FOLDER is another checkout, for example ``git worktree add FOLDER COMMIT``. Both start in turns, with this environment's
packages. Wall-clock depends on what else the machine does; CPU time hardly does.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import psutil

from benchmarks.serving.servers import ROOT, free_port

_POLL_SECONDS = 0.01
_MOST_SECONDS = 120


@dataclass(frozen=True)
class Start:
    """One start, in seconds: when each stage was over, and the CPU time of both processes until ready."""

    worker: float
    """BentoML's arbiter is imported, and has started the worker."""
    listening: float
    """The worker is imported, and has answered a first request."""
    ready: float
    """Every bundle is opened, checked and warmed up."""
    arbiter_cpu: float
    worker_cpu: float


def start_once(project: Path) -> Start:
    """Starts a checkout, waits until it is ready, and stops it."""
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FIGMENT_")}
        environment |= {"BENTOML_HOME": home, "BENTOML_DO_NOT_TRACK": "True", "FIGMENT_LINGER_SECONDS": "0"}
        command = [sys.executable, "-m", "bentoml", "serve", ".", "--host", "127.0.0.1", "--port", str(port)]
        with Path(home, "log").open("wb") as log:
            began = time.monotonic()
            arbiter = psutil.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
        try:
            moments: dict[str, float] = {}
            while "ready" not in moments:
                elapsed = time.monotonic() - began
                if arbiter.poll() is not None or elapsed > _MOST_SECONDS:
                    raise RuntimeError(f"{project} did not start:\n{Path(home, 'log').read_text()}")
                if "worker" not in moments:
                    if arbiter.children():
                        moments["worker"] = elapsed
                elif status := _status(port):
                    now = time.monotonic() - began
                    moments.setdefault("listening", now)
                    if status == 200:
                        moments["ready"] = now
                time.sleep(_POLL_SECONDS)
            (worker,) = arbiter.children()
            return Start(**moments, arbiter_cpu=_cpu_seconds(arbiter), worker_cpu=_cpu_seconds(worker))
        finally:
            arbiter.terminate()
            arbiter.wait(60)


def _status(port: int) -> int | None:
    """Returns the status of ``/readyz``; ``None`` if nothing answers yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def _cpu_seconds(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


def medians(projects: list[Path], rounds: int) -> dict[Path, Start]:
    """Starts the projects in turns, and returns the median of each number."""
    starts: dict[Path, list[Start]] = {project: [] for project in projects}
    for _ in range(rounds):
        for project in projects:
            starts[project].append(start_once(project))
    return {
        project: Start(*map(statistics.median, zip(*map(astuple, measured), strict=True)))
        for project, measured in starts.items()
    }


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="starts of each checkout")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout")
    arguments = parser.parse_args()
    projects = [*filter(None, [arguments.against]), ROOT]
    found = medians(projects, arguments.rounds)
    print(f"{'medians, s':40}" + "".join(f"{field.name:>13}" for field in fields(Start)))
    for project, start in found.items():
        print(f"{str(project)[-39:]:40}" + "".join(f"{value:13.2f}" for value in astuple(start)))


if __name__ == "__main__":
    main()
