"""The simulated replica against the real one, under the random arrivals of ``docs/performance.md``.

The real figures are those of the page's table: ``g32`` on two cores, a queue of 256 images, 1121 requests a second.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.scaling.loads import arrivals
from benchmarks.scaling.replica import Clock, Device, Replica
from serving.config.settings import Settings
from serving.inference.engine import bucket_sizes

CAPACITY = 1121.0
QUEUE_IMAGES = 256
SECONDS = 60.0


@dataclass(frozen=True)
class Reading:
    """How a load went: answers a second, seconds of the median and the 99th percentile, and the share rejected."""

    load: float
    goodput: float
    p50: float
    p99: float
    rejected: float


MEASURED = (
    Reading(0.8, 898, 0.014, 0.126, 0.0),
    Reading(1.0, 1068, 0.137, 0.276, 0.0),
    Reading(1.25, 1136, 0.310, 0.453, 0.17),
    Reading(1.5, 1123, 0.322, 0.451, 0.33),
    Reading(2.0, 1144, 0.332, 0.433, 0.49),
)


def g32() -> Device:
    """Returns two cores whose batches take a time in proportion to their size, as those of ``g32`` nearly do."""
    sizes = bucket_sizes(Settings.model_fields["max_batch"].default)
    return Device({size: 2 * size / CAPACITY for size in sizes}, cores=2)


def simulated(load: float, seed: int = 0) -> Reading:
    """Returns how a load, as a share of the capacity, goes in the simulation."""
    clock = Clock()
    ends: list[tuple[float, float]] = []
    replica = Replica(
        clock,
        g32(),
        QUEUE_IMAGES,
        Settings.model_fields["deadline_seconds"].default,
        lambda request, seconds: ends.append((request.arrived, seconds)),
    )
    for time in arrivals([(SECONDS, load * CAPACITY)], seed).tolist():
        clock.run_until(time)
        replica.arrive()
    clock.run_until(2 * SECONDS)
    seconds = np.array([seconds for _, seconds in ends])
    answered = seconds[np.isfinite(seconds)]
    p50, p99 = np.quantile(answered, (0.5, 0.99))
    return Reading(load, len(answered) / SECONDS, float(p50), float(p99), 1 - len(answered) / len(seconds))
