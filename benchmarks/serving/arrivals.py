"""Random arrivals: the latency at 80 % of the capacity, and what twice the capacity does to those who are let in.

The goodput, images made a second, at twice the capacity is told as a share of the best at any of the loads. All are
offered by the same client, whose time comes from the same cores. The first second, when the queue fills, is left out of
the goodput, but not of the latencies.
"""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.serving.load import Arrival, build_client, closed_loop, open_loop
from benchmarks.serving.servers import figment

_MODEL = "g32"
_QUEUE_IMAGES = 256
_LOADS = (0.8, 1.0, 1.25, 1.5, 2.0)
_FILLED = 1.0  # seconds until the queue is full for sure


def measure(home: Path, smoke: bool) -> dict[str, Any]:
    """Prints the table and returns its numbers."""
    rounds, seconds = (1, 2) if smoke else (3, 6)
    client = build_client(home)
    body = f'{{"model":"{_MODEL}","seeds":[%d]}}'
    runs: dict[float, list[list[Arrival]]] = {load: [] for load in _LOADS}
    with figment(home / "zoo", home / "ours", queue_images=_QUEUE_IMAGES) as ours:
        capacity = statistics.median(
            closed_loop(ours, "/generate", body, 64, seconds).requests_per_second for _ in range(rounds)
        )
        for _ in range(rounds):
            for load in _LOADS:
                runs[load].append(open_loop(ours, client, body, load * capacity, seconds))
    print(
        f"\nRandom arrivals, {_MODEL}; the capacity is {capacity:.0f} requests a second, so a batch of 64 takes "
        f"{1000 * 64 / capacity:.0f} ms\n load  goodput  of them p50      p99  refused   within p50      p99"
    )
    loads = [_told(load, runs[load], seconds) for load in _LOADS]
    best = max(numbers["goodput_per_second"] for numbers in loads)
    share = loads[-1]["goodput_per_second"] / best
    print(f"At {_LOADS[-1]:.0%} the goodput is {share:.2f} of the best", flush=True)
    return {
        "model": _MODEL,
        "capacity_per_second": capacity,
        "batch_ms": 1000 * 64 / capacity,
        "loads": loads,
        "goodput_of_best": share,
    }


def _told(load: float, runs: list[list[Arrival]], seconds: float) -> dict[str, Any]:
    """One load's numbers, of all its runs together."""
    arrivals = [arrival for run in runs for arrival in run]
    if unexpected := {arrival.status for arrival in arrivals} - {200, 429}:
        raise SystemExit(f"unexpected statuses {sorted(unexpected)}: the numbers mean nothing.")
    made, refused = _with(arrivals, 200), _with(arrivals, 429)
    numbers = {
        "load": load,
        "goodput_per_second": statistics.median(_goodput(run, seconds) for run in runs),
        "p50_ms": _quantile(made, 50),
        "p99_ms": _quantile(made, 99),
        "refused": len(refused) / len(arrivals),
        "refused_p50_ms": _quantile(refused, 50) if len(refused) > 1 else None,
        "refused_p99_ms": _quantile(refused, 99) if len(refused) > 1 else None,
    }
    line = "{load:5.0%} {goodput_per_second:6.0f}/s {p50_ms:8.1f} ms {p99_ms:5.0f} ms {refused:8.0%}"
    if numbers["refused_p50_ms"] is not None:
        line += " {refused_p50_ms:9.1f} ms {refused_p99_ms:5.0f} ms"
    print(line.format(**numbers), flush=True)
    return numbers


def _goodput(run: list[Arrival], seconds: float) -> float:
    """Of a second, once the queue is full and for as long as requests come."""
    return sum(_FILLED <= arrival.answered < seconds for arrival in _with(run, 200)) / (seconds - _FILLED)


def _with(arrivals: list[Arrival], status: int) -> list[Arrival]:
    return [arrival for arrival in arrivals if arrival.status == status]


def _quantile(arrivals: list[Arrival], percent: int) -> float:
    return statistics.quantiles([arrival.milliseconds for arrival in arrivals], n=100)[percent - 1]
