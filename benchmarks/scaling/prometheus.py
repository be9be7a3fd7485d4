"""What Prometheus and metrics-server would tell the autoscaler, from samples of simulated replicas.

Each query of ``deploy/kubernetes/components/keda/scaled-object.yaml`` has a function here, for any window, and no other
query has: a changed query cannot be simulated by mistake. Series without samples in the window count as nothing, as in
PromQL.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.scaling.replica import Replica
from serving.metrics import DURATION_SECONDS

SCRAPE_SECONDS = 15.0  # of deploy/kubernetes/components/monitoring/service-monitor.yaml
KEPT_SECONDS = 150.0


@dataclass(frozen=True)
class Sample:
    """What one scrape of one replica reads."""

    time: float
    queued_images: float
    cpu_seconds: float
    cores: int
    wait_counts: tuple[float, ...]
    """Cumulative, by the buckets of ``figment_queue_wait_seconds``; the last one is ``+Inf``."""


Series = deque[Sample]


def scrape(replica: Replica, time: float, series: Series) -> None:
    """Adds a sample of a replica to its series, and forgets samples that no query reads any more."""
    counts = tuple(np.cumsum(replica.wait_counts).tolist())
    series.append(Sample(time, replica.queued_images, replica.cpu_seconds, replica.cores, counts))
    while series[0].time < time - KEPT_SECONDS:
        series.popleft()


def rate(times: Sequence[float], values: Sequence[float], now: float, window: float) -> float | None:
    """Returns PromQL's ``rate`` of a counter without resets, or None with fewer than two samples in the window.

    Like Prometheus, it extrapolates to the ends of the window if the first and last samples are near to them, and to
    the time when the counter was zero at most.
    """
    inside = [(time, value) for time, value in zip(times, values, strict=True) if now - window < time <= now]
    if len(inside) < 2:
        return None
    (first_time, first), (last_time, last) = inside[0], inside[-1]
    sampled, increase = last_time - first_time, last - first
    step = sampled / (len(inside) - 1)
    before, after = first_time - (now - window), now - last_time
    before, after = (step / 2 if gap >= 1.1 * step else gap for gap in (before, after))
    if increase > 0:
        before = min(before, sampled * first / increase)
    return increase * (sampled + before + after) / sampled / window


def histogram_quantile(quantile: float, bounds: Sequence[float], cumulative: Sequence[float]) -> float:
    """Returns PromQL's ``histogram_quantile``: linear within a bucket. ``cumulative`` has one more value, for +Inf.

    Returns NaN without observations.
    """
    rank = quantile * cumulative[-1]
    if not cumulative[-1] > 0:
        return float("nan")
    index = next(index for index, count in enumerate(cumulative) if count >= rank)
    if index == len(bounds):
        return bounds[-1]
    below, start = (cumulative[index - 1], bounds[index - 1]) if index else (0.0, 0.0)
    inside = cumulative[index] - below
    return start + (bounds[index] - start) * (rank - below) / inside if inside else bounds[index]


def queued_images(all_series: Iterable[Series], now: float, window: float) -> float:
    """Returns the images that wait, on average over a window, of all replicas."""
    total = 0.0
    for series in all_series:
        values = [sample.queued_images for sample in series if now - window < sample.time <= now]
        total += sum(values) / len(values) if values else 0.0
    return total


def queue_wait_p95(all_series: Iterable[Series], now: float, window: float) -> float:
    """Returns the 95th percentile of the queue wait over a window; 0 without requests."""
    total = np.zeros(len(DURATION_SECONDS) + 1)
    for series in all_series:
        times = [sample.time for sample in series]
        for index, counts in enumerate(zip(*(sample.wait_counts for sample in series), strict=True)):
            total[index] += rate(times, counts, now, window) or 0.0
    quantile = histogram_quantile(0.95, DURATION_SECONDS, total.tolist())
    return quantile if quantile > 0 else 0.0


def cpu_shares(all_series: Iterable[Series], now: float) -> list[float]:
    """Returns the percentage of their cores that replicas used between their last two scrapes, if they had two."""
    return [
        100 * (last.cpu_seconds - previous.cpu_seconds) / (last.time - previous.time) / last.cores
        for previous, last in (list(series)[-2:] for series in all_series if len(series) > 1)
        if last.time > now - SCRAPE_SECONDS
    ]


def cpu_utilization(all_series: Iterable[Series], now: float) -> float:
    """Returns the mean of ``cpu_shares``; 0 if there are none."""
    shares = cpu_shares(all_series, now)
    return sum(shares) / len(shares) if shares else 0.0


Measure = Callable[[Iterable[Series], float], float]

# WINDOW stands for a number of seconds, or of minutes.
QUEUED = 'sum(avg_over_time(figment_queued_images{namespace="figment"}[WINDOW]))'
WAIT = (
    "(histogram_quantile(0.95, sum by (le) (rate("
    'figment_queue_wait_seconds_bucket{namespace="figment"}[WINDOW]))) > 0) or vector(0)'
)
CPU = "cpu"
"""The trigger of that type has no query: metrics-server answers it."""

_WINDOW = re.compile(r"(?<=\[)(\d+)([sm])(?=\])")


def template_of(query: str) -> str:
    """Returns a query with WINDOW in the place of its window."""
    return _WINDOW.sub("WINDOW", query)


def with_window(query: str, window: str) -> str:
    """Returns a query with another window."""
    return _WINDOW.sub(window, query)


def measure_of(query: str) -> Measure:
    """Returns the function that answers a query. Raises ``ValueError`` for a query without one."""
    if query == CPU:
        return cpu_utilization
    functions = {QUEUED: queued_images, WAIT: queue_wait_p95}
    found = _WINDOW.search(query)
    if found is None or template_of(query) not in functions:
        raise ValueError(f"benchmarks/scaling/prometheus.py cannot answer: {query}")
    seconds = int(found[1]) * {"s": 1, "m": 60}[found[2]]
    return partial(functions[template_of(query)], window=seconds)
