"""Measures what the simulations start from, on this machine: ``python -m benchmarks.scaling.measure cpu`` or ``cuda``.

Prints an entry of ``measured.json``. The figures of a CPU are processor time, so a busy machine changes them little: of
a batch in a session of one thread, and of a whole request to the running service (HTTP, inference and PNG). Those of a
GPU are seconds of a batch with its copies to and from the GPU.
"""

import argparse
import json
import shutil
import socket
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.serving.generators import write_generators
from benchmarks.serving.load import closed_loop
from benchmarks.serving.servers import ROOT, Server, figment
from models.bundle import read_bundle
from serving.config.settings import Device, Settings
from serving.inference.device import Devices, Hardware
from serving.inference.engine import Engine, open_engine

SHIPPED = ("digits", "cifar10")
ROUNDS = 15
CONNECTIONS = 64
SECONDS = 6


def batch_seconds(engine: Engine, clock: Callable[[], float]) -> dict[int, float]:
    """Returns the median seconds of a batch of each size. Sizes alternate. On a CPU, the session has one thread."""
    batches = {size: engine.pad([engine._warm_up_inputs(size)]) for size in engine.buckets}
    seconds: dict[int, list[float]] = {size: [] for size in batches}
    for _ in range(ROUNDS):
        for size, batch in batches.items():
            started = clock()
            engine.run(batch)
            seconds[size].append(clock() - started)
    return {size: statistics.median(values) for size, values in seconds.items()}


def request_seconds(server: Server, model: str) -> float:
    """Returns the service's processor seconds for a request of one PNG, at 64 connections: the median of three runs."""
    body = f'{{"model":"{model}","seeds":[%d]}}'
    readings = [closed_loop(server, "/generate", body, CONNECTIONS, SECONDS) for _ in range(3)]
    if any(reading.failed for reading in readings):
        raise SystemExit("Requests failed: the numbers are invalid.")
    return statistics.median(reading.cpu_us for reading in readings) / 1e6


def image_bytes(server: Server, model: str) -> int:
    """Returns the mean size of a PNG over 200 seeds."""
    sizes = [len(urllib.request.urlopen(f"{server.url}/images/{model}/{seed}.png").read()) for seed in range(200)]
    return round(statistics.mean(sizes))


def header_bytes(server: Server, model: str) -> int:
    """Returns the size of the head of a response with one image."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"GET /images/{model}/1.png HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        return connection.recv(2**16).index(b"\r\n\r\n") + 4


def series(server: Server) -> int:
    """Returns the number of series that Prometheus reads from ``server``."""
    lines = urllib.request.urlopen(f"{server.url}/metrics").read().decode().splitlines()
    return sum(bool(line) and not line.startswith("#") for line in lines)


def measure_cpu() -> dict[str, Any]:
    """Returns the figures of one core, for the bundles that ship and the smallest generator of the benchmark."""
    generators: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_generators(home / "zoo")
        shutil.rmtree(home / "zoo" / "g32")
        for name in SHIPPED:
            (home / "zoo" / name).symlink_to(ROOT / "models" / "zoo" / name)
        with figment(home / "zoo", home / "service") as server:
            for name in ("tiny", *SHIPPED):
                generators[name] = {
                    "batch_seconds": batch_seconds(_engine(home / "zoo" / name, "cpu"), time.thread_time),
                    "request_seconds": request_seconds(server, name),
                    "image_bytes": image_bytes(server, name),
                }
            service = {"header_bytes": header_bytes(server, "cifar10"), "series": series(server)}
    return {"generators": generators, "service": service}


def measure_gpu() -> dict[str, Any]:
    """Returns the seconds of a batch on the GPU, copies included, for the bundles that ship."""
    engines = {name: _engine(ROOT / "models" / "zoo" / name, "cuda") for name in SHIPPED}
    times = {name: batch_seconds(engine, time.perf_counter) for name, engine in engines.items()}
    return {"generators": {name: {"batch_seconds": seconds} for name, seconds in times.items()}}


def _engine(versions: Path, device: Device) -> Engine:
    (bundle,) = versions.iterdir()
    return open_engine(read_bundle(bundle), Devices(device, Hardware(1)), Settings.model_fields["max_batch"].default)


def main() -> None:
    """Prints the figures as JSON, for ``measured.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", choices=("cpu", "cuda"))
    figures = measure_gpu() if parser.parse_args().device == "cuda" else measure_cpu()
    print(json.dumps({"machine": "SAY ON WHAT", **figures}, indent=2))


if __name__ == "__main__":
    main()
