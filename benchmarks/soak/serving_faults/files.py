"""A limit of 64 open files, and more clients than that."""

import socket
import time
from collections import Counter

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.serving_faults.service import Service
from benchmarks.soak.serving_faults.traffic import References, Traffic

MOST_FILES = 64
"""The limit that the service must have."""

_CLIENTS = 100
_GET = b"GET /livez HTTP/1.1\r\nHost: figment\r\n\r\n"


def more_clients_than_files(service: Service, plain: References, times: int) -> Outcome:
    """Opens 100 connections, sends a request through each, and closes them; again and again."""
    ends: Counter[str] = Counter()
    (worker,) = service.workers()
    files = worker.num_fds()
    struck = recovered = 0
    for _ in range(times):
        struck += _crowd(service, ends)
        freed = service.wait_for(lambda: worker.num_fds() <= files, 10)
        with Traffic(service.port, plain, clients=2) as traffic:
            served = traffic.wait_for(5, 10)
        recovered += freed and served and traffic.account.all_ended()
    alive = worker.is_running() and service.get("/readyz")[0] == 200
    counts = ", ".join(f"{number} {end}" for end, number in sorted(ends.items()))
    return Outcome(
        f"{_CLIENTS} clients with a limit of {MOST_FILES} open files",
        f"{times} times",
        "each client is answered or closed, the worker lives, and afterwards others get their images",
        f"connections: {counts}; the limit was reached {struck} times; recovered {recovered} times; "
        f"the worker {'lives' if alive else 'is DEAD'}",
        struck == times and recovered == times and alive and not ends.keys() - {"answered", "closed"},
    )


def _crowd(service: Service, ends: Counter[str]) -> bool:
    """Returns whether the worker had all the files that it may have."""
    clients = [socket.create_connection(("127.0.0.1", service.port), timeout=10) for _ in range(_CLIENTS)]
    (worker,) = service.workers()
    reached = service.wait_for(lambda: worker.num_fds() >= MOST_FILES - 1, 5)
    time.sleep(0.1)
    for client in clients:
        try:
            client.sendall(_GET)
            answer = client.recv(1000)
        except TimeoutError:
            ends["WITHOUT AN END"] += 1
        except OSError:
            ends["closed"] += 1
        else:
            ends["answered" if answer.startswith(b"HTTP/1.1 200") else "closed"] += 1
    for client in clients:
        client.close()
    return reached
