"""64 clients that send twice as much as the service can do: honest refusals, and nobody else's loss."""

import statistics
import time

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.serving_faults.service import Service
from benchmarks.soak.serving_faults.traffic import RIGHT, References, Traffic

_CLIENTS = 64
_CAPACITY_CLIENTS = 32  # as many as fit into the queue and the batches at work
_MAX_GROWTH = 0.02
_MAX_GROWTH_BYTES = 2 * 2**20


def twice_the_capacity(
    service: Service, references: References, deadline: float, seconds: float, least_goodput: float
) -> Outcome:
    """Measures the capacity for some seconds before and after, and sends twice as much in between.

    Memory counts from a tenth of the time on.
    """
    short = max(1.0, seconds / 20)
    before = _capacity(service, references, short)
    with Traffic(service.port, references, clients=_CLIENTS, interval=_CLIENTS / (2 * before)) as traffic:
        account = traffic.account
        time.sleep(seconds / 10)
        warm = service.resident_bytes()
        right, sent, began = account.ends[RIGHT], account.sent, time.monotonic()
        time.sleep(seconds * 9 / 10)
        took = time.monotonic() - began
        goodput, rate = (account.ends[RIGHT] - right) / took, (account.sent - sent) / took
        memory = service.resident_bytes()
    capacity = (before + _capacity(service, references, short)) / 2
    slowest, p99 = max(account.seconds), statistics.quantiles(account.seconds, n=100)[98]
    flat = memory <= warm * (1 + _MAX_GROWTH) + _MAX_GROWTH_BYTES
    happened = f"capacity {capacity:.0f}/s, sent {rate:.0f}/s, goodput {goodput:.0f}/s ({goodput / capacity:.2f}); "
    happened += f"{account}; answered within {slowest:.2f} s, p99 {p99:.2f} s; "
    happened += f"memory {warm / 2**20:.0f} → {memory / 2**20:.0f} MB"
    return Outcome(
        f"{_CLIENTS} clients at twice the capacity",
        f"{seconds:.0f} s, {account.sent} requests",
        f"no errors but 429, 503 and 504, at least {least_goodput:g} of the capacity in right images, each within the "
        f"deadline of {deadline:g} s, memory within 2 % + 2 MB",
        happened,
        account.all_ended("429", "503", "504")
        and account.ends["429"] > 0
        and rate > 1.5 * capacity
        and goodput >= least_goodput * capacity
        and slowest <= deadline
        and flat,
    )


def _capacity(service: Service, references: References, seconds: float) -> float:
    """Returns right answers a second to clients that send their next request after each answer."""
    with Traffic(service.port, references, clients=_CAPACITY_CLIENTS, interval=0) as traffic:
        time.sleep(seconds / 4)
        right, began = traffic.account.ends[RIGHT], time.monotonic()
        time.sleep(seconds * 3 / 4)
        return (traffic.account.ends[RIGHT] - right) / (time.monotonic() - began)
