"""Measures random arrivals: the latency at 80 % of the capacity, and accepted requests at twice the capacity.

The speed of a shared machine changes within minutes. So each round measures the capacity again before it offers its
loads, and the numbers are medians of the rounds. One client offers all loads, and shares the cores with the server. The
goodput leaves out the first second, when the queue fills; the latencies include it.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.load import Arrival, build_client, closed_loop, open_loop
from benchmarks.serving.servers import figment

_MODEL = "g32"
_QUEUE_IMAGES = 256
_BATCH_IMAGES = 64
_LOADS = (0.8, 1.0, 1.25, 1.5, 2.0)
_FILL_SECONDS = 1.0  # the queue is certainly full after this time


@dataclass(frozen=True)
class _Round:
    """The capacity, in requests a second, and the answers by load, as a share of the capacity."""

    capacity: float
    runs: dict[float, list[Arrival]]


def measure(home: Path, smoke: bool) -> dict[str, Any]:
    """Prints the table and returns its numbers."""
    count, seconds = (1, 2) if smoke else (5, 5)
    client = build_client(home)
    body = f'{{"model":"{_MODEL}","seeds":[%d]}}'
    rounds: list[_Round] = []
    with figment(home / "zoo", home / "ours", queue_images=_QUEUE_IMAGES) as ours:
        for _ in range(count):
            capacity = closed_loop(ours, "/generate", body, _BATCH_IMAGES, seconds).requests_per_second
            runs = {load: open_loop(ours, client, body, load * capacity, seconds) for load in _LOADS}
            rounds.append(_Round(capacity, runs))
    capacity = statistics.median(round_.capacity for round_ in rounds)
    print(
        f"\nRandom arrivals, {_MODEL}; the capacity is {capacity:.0f} requests a second, so a batch of {_BATCH_IMAGES} "
        f"takes {1000 * _BATCH_IMAGES / capacity:.0f} ms\n"
        " load  goodput  of them p50      p99  rejected  within p50      p99"
    )
    loads = [_summarize_load(load, rounds, seconds) for load in _LOADS]
    shares = [_goodput_share(round_, seconds) for round_ in rounds]
    waits = [
        _quantile(_with_status(round_.runs[_LOADS[0]], 200), 99) * round_.capacity / _BATCH_IMAGES / 1000
        for round_ in rounds
    ]
    print(f"At {_LOADS[0]:.0%} the p99 is {statistics.median(waits):.2f} batch times ({_range(waits)})")
    print(
        f"At {_LOADS[-1]:.0%} the goodput is {statistics.median(shares):.2f} of the best ({_range(shares)})", flush=True
    )
    return {
        "model": _MODEL,
        "capacity_per_second": capacity,
        "batch_ms": 1000 * _BATCH_IMAGES / capacity,
        "loads": loads,
        "p99_batches": waits,
        "goodput_of_best": shares,
    }


def _summarize_load(load: float, rounds: list[_Round], seconds: float) -> dict[str, Any]:
    """Prints and returns the numbers of one load, each the median of the rounds."""
    runs = [round_.runs[load] for round_ in rounds]
    statuses = {arrival.status for run in runs for arrival in run}
    if unexpected := statuses - {200, 429}:
        raise SystemExit(f"unexpected statuses {sorted(unexpected)}: the numbers are invalid.")
    rejected = [answers for run in runs if len(answers := _with_status(run, 429)) > 1]

    def median(number: Callable[[list[Arrival]], float], of: list[list[Arrival]]) -> float | None:
        return statistics.median(map(number, of)) if of else None

    numbers = {
        "load": load,
        "goodput_per_second": median(lambda run: _goodput(run, seconds), runs),
        "p50_ms": median(lambda run: _quantile(_with_status(run, 200), 50), runs),
        "p99_ms": median(lambda run: _quantile(_with_status(run, 200), 99), runs),
        "refused": median(lambda run: len(_with_status(run, 429)) / len(run), runs),
        "refused_p50_ms": median(lambda run: _quantile(run, 50), rejected),
        "refused_p99_ms": median(lambda run: _quantile(run, 99), rejected),
    }
    line = "{load:5.0%} {goodput_per_second:6.0f}/s {p50_ms:8.1f} ms {p99_ms:5.0f} ms {refused:8.0%}"
    if rejected:
        line += " {refused_p50_ms:9.1f} ms {refused_p99_ms:5.1f} ms"
    print(line.format(**numbers), flush=True)
    return numbers


def _goodput_share(round_: _Round, seconds: float) -> float:
    """Returns the goodput at the highest load, as a share of the best goodput in this round."""
    goodputs = [_goodput(run, seconds) for run in round_.runs.values()]
    return goodputs[-1] / max(goodputs)


def _goodput(run: list[Arrival], seconds: float) -> float:
    """Returns successful answers per second, from the time when the queue is full until the last request is sent."""
    return sum(_FILL_SECONDS <= arrival.answered < seconds for arrival in _with_status(run, 200)) / (
        seconds - _FILL_SECONDS
    )


def _with_status(arrivals: list[Arrival], status: int) -> list[Arrival]:
    return [arrival for arrival in arrivals if arrival.status == status]


def _quantile(arrivals: list[Arrival], percent: int) -> float:
    return statistics.quantiles([arrival.milliseconds for arrival in arrivals], n=100)[percent - 1]


def _range(numbers: list[float]) -> str:
    return f"{min(numbers):.2f} – {max(numbers):.2f}"
