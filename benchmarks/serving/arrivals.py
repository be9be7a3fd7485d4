"""Random arrivals: the latency at 80 % of the capacity, and what twice the capacity does to those who are let in."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.serving.load import Arrival, closed_loop, open_loop
from benchmarks.serving.servers import figment

_MODEL = "g32"
_QUEUE_IMAGES = 256


def measure(home: Path, smoke: bool) -> dict[str, Any]:
    """Prints the table and returns its numbers."""
    seconds = 1 if smoke else 8
    body = f'{{"model":"{_MODEL}","seeds":[%d]}}'
    with figment(home / "zoo", home / "ours", queue_images=_QUEUE_IMAGES) as ours:
        peak = closed_loop(ours, "/generate", body, 64, max(1, seconds // 2)).requests_per_second
        steady = open_loop(ours, body, 0.8 * peak, seconds)
        crowded = open_loop(ours, body, 2 * peak, seconds)
        after = closed_loop(ours, "/generate", body, 64, max(1, seconds // 2)).requests_per_second
    # The machine's own pace moves: what the crowd is measured by is the mean of before and after.
    goodput = 2 * len(_with(crowded, 200)) / seconds / (peak + after)
    made = _with(crowded, 200)
    refused = _with(crowded, 429)
    unexpected = {arrival.status for arrival in steady + crowded} - {200, 429}
    if unexpected:
        raise SystemExit(f"unexpected statuses {sorted(unexpected)}: the numbers mean nothing.")
    numbers = {
        "model": _MODEL,
        "peak_per_second": peak,
        "batch_ms": 1000 * 64 / peak,
        "at_80_percent": {"p50_ms": _quantile(steady, 50), "p99_ms": _quantile(steady, 99)},
        "at_200_percent": {
            "goodput": goodput,
            "accepted_p99_ms": _quantile(made, 99),
            "refused": len(refused) / len(crowded),
            "refused_p50_ms": _quantile(refused, 50) if refused else None,
            "refused_p99_ms": _quantile(refused, 99) if refused else None,
        },
    }
    print(
        f"\nRandom arrivals, {_MODEL}; the capacity is {peak:.0f} requests a second, so a batch of 64 takes "
        f"{1000 * 64 / peak:.0f} ms"
    )
    print(f"  at  80 %: p50 {_quantile(steady, 50):.1f} ms, p99 {_quantile(steady, 99):.1f} ms")
    print(
        f"  at 200 %: goodput {goodput:.2f} of the capacity, p99 {_quantile(made, 99):.0f} ms; "
        + (f"refused in p50 {_quantile(refused, 50):.1f} ms" if refused else "none refused"),
        flush=True,
    )
    return numbers


def _with(arrivals: list[Arrival], status: int) -> list[Arrival]:
    return [arrival for arrival in arrivals if arrival.status == status]


def _quantile(arrivals: list[Arrival], percent: int) -> float:
    return statistics.quantiles([arrival.milliseconds for arrival in arrivals], n=100)[percent - 1]
