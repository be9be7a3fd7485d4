"""What the service keeps: sockets, memory, open files, metric series, and complaints in its log."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.serving.servers import Server
from serving.errors import STATUS
from serving.http.routing import OTHER
from serving.routes import ROUTES

_COMPLAINT = re.compile(r"Traceback|ERROR|CRITICAL|Exception|Fatal|Warning")


@dataclass(frozen=True)
class Footprint:
    """One measurement, taken while no request is in work."""

    resident_mib: float
    open_files: int
    series: int
    connections: int
    """How many the service had not ended, long after all clients had left or its time limits had passed."""


def measure(server: Server) -> Footprint:
    """Waits until the service holds no connection, and measures it."""
    wait_until(lambda: not connections(server), 60)
    left = len(connections(server))
    files = sum(process.num_fds() for process in server.processes)
    return Footprint(server.resident_bytes / 2**20, files, len(series(server)), left)


def connections(server: Server) -> set[int]:
    """Returns the clients' ports of all connections that the service has not closed."""
    return {
        connection.raddr.port
        for process in server.processes
        for connection in process.net_connections("tcp")
        if connection.raddr and connection.laddr.port == server.port
    }


def series(server: Server) -> set[str]:
    """Returns every line of the metrics that is a series, without its value."""
    text = httpx.get(f"{server.url}/metrics", timeout=30).text
    return {line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}


def invented_labels(server: Server, models: tuple[str, ...]) -> list[str]:
    """Returns the series with a route, status or model that clients have invented."""
    routes = {route.label for route in ROUTES} | {OTHER, "/predict", "/ping"}
    codes = {str(status) for status in STATUS.values()} | {"200", "304", "505"}
    allowed = {"route": routes, "code": codes, "model": set(models)}
    text = httpx.get(f"{server.url}/metrics", timeout=30).text
    return [
        f"{sample.name}{sample.labels}"
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if any(value not in allowed.get(name, {value}) for name, value in sample.labels.items())
    ]


def complaints(log: Path) -> list[str]:
    """Returns the lines of the service's log that report an error of its own."""
    return [line for line in log.read_text(errors="replace").splitlines() if _COMPLAINT.search(line)]


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits for a condition, and returns whether it came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
