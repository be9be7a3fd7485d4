"""The ends of a service with traffic: SIGTERM, which loses nothing, and SIGKILL of a worker, which is replaced.

The service has few open files, and first gets more clients than that.
"""

import os
import resource
import signal
from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.serving_faults.files import MOST_FILES, more_clients_than_files
from benchmarks.soak.serving_faults.graphs import SEEDS, reference, write_zoo
from benchmarks.soak.serving_faults.service import Service, serving
from benchmarks.soak.serving_faults.traffic import Account, References, Traffic

_LINGER_SECONDS = 0.5
_REPLACED_SECONDS = 30


def run(smoke: bool, work: Path) -> list[Outcome]:
    """Crowds one service, kills its worker, and ends it with SIGTERM; the full form starts ten services."""
    write_zoo(work / "zoo", "plain")
    plain = {"plain/1": reference(work / "zoo" / "plain" / "1", SEEDS)}
    kills, ends = [], []
    crowds: list[Outcome] = []
    limits = {resource.RLIMIT_NOFILE: MOST_FILES}
    for number in range(1 if smoke else 10):
        home = work / f"home-{number}"
        with serving(work / "zoo", home, limits=limits, linger_seconds=_LINGER_SECONDS) as service:
            service.wait_ready()
            if not crowds:
                crowds.append(more_clients_than_files(service, plain, 2 if smoke else 50))
            kills.append(_kill_worker(service, plain))
            ends.append(_terminate(service, plain))
    times = f"{len(kills)} times"
    return [
        *crowds,
        Outcome(
            "SIGKILL of the worker",
            times,
            "the parent keeps the port, says so and starts another worker; only requests in flight are lost",
            f"{_counts(kills)} as promised; {_account(kills)}",
            all(kept for kept, _ in kills),
        ),
        Outcome(
            "SIGTERM, to clients of a balancer that asks /readyz every 50 ms",
            times,
            f"every request until the end of the {_LINGER_SECONDS:g} s in which it lingers is answered; exit code 0",
            f"{_counts(ends)} as promised; {_account(ends)}",
            all(kept for kept, _ in ends),
        ),
    ]


def _kill_worker(service: Service, plain: References) -> tuple[bool, Account]:
    clients = 4
    with Traffic(service.port, plain, clients) as traffic:
        traffic.wait_for(20)
        (worker,) = service.workers()
        worker.send_signal(signal.SIGKILL)
        back = traffic.wait_for(20, _REPLACED_SECONDS)
    lost = traffic.account.ends["closed"]
    kept = back and 0 < lost <= clients and traffic.account.all_ended("closed")
    said = f"Worker {worker.pid} was killed by SIGKILL" in service.log
    return kept and said and service.process.poll() is None, traffic.account


def _terminate(service: Service, plain: References) -> tuple[bool, Account]:
    with Traffic(service.port, plain, clients=4) as traffic:
        traffic.wait_for(20)
        os.kill(service.process.pid, signal.SIGTERM)
        lingering = service.wait_for(lambda: service.get("/readyz")[0] == 503, 5)
        traffic.wait_for(1, 1)
    service.process.wait(20)
    return lingering and traffic.account.all_ended() and service.process.returncode == 0, traffic.account


def _counts(tries: list[tuple[bool, Account]]) -> str:
    return f"{sum(kept for kept, _ in tries)} of {len(tries)}"


def _account(tries: list[tuple[bool, Account]]) -> Account:
    total = Account()
    for _, account in tries:
        total.add(account)
    return total
