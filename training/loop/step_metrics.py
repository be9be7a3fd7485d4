"""Means of the metrics of each step, over the steps of a tick and over all processes."""

import math
import time

import torch
from torch import Tensor

from training.errors import DivergenceError
from training.parallel.distributed import Processes


class MetricAccumulator:
    """Collects scalars on their device, so that no step waits for the device."""

    def __init__(self, processes: Processes, images_seen: int) -> None:
        self._processes = processes
        self._steps: list[dict[str, Tensor]] = []
        self._tick_start, self._images_seen, self._seconds_waited = time.perf_counter(), images_seen, 0.0

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Adds the scalars of one step. Phases that do not run in this step have none."""
        self._steps.append(metrics)

    def pop_means(self, images_seen: int, seconds_waited: float) -> dict[str, float]:
        """Returns the means since the last call, the images per second, and the share of time spent waiting for data.

        ``seconds_waited`` counts from the run's start. The result is empty if no step was added since the last call.
        Raises ``DivergenceError`` if a value is NaN or infinite: the weights are then unusable and must not be saved.
        """
        if not self._steps:
            return {}
        series = {
            name: torch.stack([step[name].float() for step in self._steps if name in step])
            for name in dict.fromkeys(name for step in self._steps for name in step)
        }
        stacked_means = torch.stack([values.mean() for values in series.values()])
        self._processes.average([stacked_means])
        means = dict(zip(series, stacked_means.tolist(), strict=True))
        if not all(math.isfinite(value) for value in means.values()):
            self._raise_first_non_finite(images_seen)
        now = time.perf_counter()
        elapsed = now - self._tick_start
        means["images_per_second"] = (images_seen - self._images_seen) / elapsed
        means["data_wait_share"] = (seconds_waited - self._seconds_waited) / elapsed
        self._steps = []
        self._tick_start, self._images_seen, self._seconds_waited = now, images_seen, seconds_waited
        return means

    def discard(self, images_seen: int, seconds_waited: float) -> None:
        """Forgets the steps since the last tick: a treatment has undone them."""
        self._steps = []
        self._tick_start, self._images_seen, self._seconds_waited = time.perf_counter(), images_seen, seconds_waited

    def _raise_first_non_finite(self, images_seen: int) -> None:
        """Raises ``DivergenceError`` for the first NaN or infinite value; metrics are in the order of the phases."""
        batch_size = (images_seen - self._images_seen) // len(self._steps)
        for number, step in enumerate(self._steps, start=1):
            for name, value in step.items():
                if not math.isfinite(value):
                    raise DivergenceError(
                        f"{name} is {value:g} after {self._images_seen + number * batch_size} images: "
                        "the training has diverged"
                    )
        raise DivergenceError(f"the training has diverged in another process before {images_seen} images")
