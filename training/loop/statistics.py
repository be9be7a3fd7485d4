"""Means of what the steps measure, over the steps of a tick and over all processes."""

import math
import time

import torch
from torch import Tensor

from training.errors import DivergenceError
from training.parallel.distributed import Processes


class Statistics:
    """Holds scalars on their device, so that no step waits for them."""

    def __init__(self, processes: Processes, images_seen: int) -> None:
        self._processes = processes
        self._steps: list[dict[str, Tensor]] = []
        self._began, self._images, self._waited = time.perf_counter(), images_seen, 0.0

    def add(self, measured: dict[str, Tensor]) -> None:
        """Takes one step's scalars; phases that are not in every step leave theirs out."""
        self._steps.append(measured)

    def take(self, images_seen: int, waited: float) -> dict[str, float]:
        """The means since the last call, with images per second and the share of time spent waiting for data.

        ``waited`` are the seconds waited since the run's start. Empty if no step was taken since the last call.
        Raises ``DivergenceError`` if a value is no number: then the weights are spoilt, and nothing must be saved.
        """
        if not self._steps:
            return {}
        series = {
            name: torch.stack([step[name].float() for step in self._steps if name in step])
            for name in dict.fromkeys(name for step in self._steps for name in step)
        }
        totals = torch.stack([values.mean() for values in series.values()])
        self._processes.average([totals])
        means = dict(zip(series, totals.tolist(), strict=True))
        if not all(math.isfinite(value) for value in means.values()):
            self._raise_first(images_seen)
        now = time.perf_counter()
        elapsed = now - self._began
        means["images_per_second"] = (images_seen - self._images) / elapsed
        means["data_wait_share"] = (waited - self._waited) / elapsed
        self._steps = []
        self._began, self._images, self._waited = now, images_seen, waited
        return means

    def _raise_first(self, images_seen: int) -> None:
        """Names the first value that is no number: the phases measure in the order in which they happen."""
        each = (images_seen - self._images) // len(self._steps)
        for number, step in enumerate(self._steps, start=1):
            for name, value in step.items():
                if not math.isfinite(value):
                    raise DivergenceError(
                        f"{name} is {value:g} after {self._images + number * each} images: the training has diverged"
                    )
        raise DivergenceError(f"the training has diverged in another process before {images_seen} images")
