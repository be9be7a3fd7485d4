"""Means of what the steps measure, over the steps of a tick and over all processes."""

import math
import time

import torch
from torch import Tensor

from training.distributed import Processes
from training.errors import TrainingError


class Statistics:
    """Sums scalars on their device, so that no step waits for them."""

    def __init__(self, processes: Processes, images_seen: int) -> None:
        self._processes = processes
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._began, self._images, self._waited = time.perf_counter(), images_seen, 0.0

    def add(self, measured: dict[str, Tensor]) -> None:
        """Takes one step's scalars; phases that are not in every step leave theirs out."""
        for name, value in measured.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self, images_seen: int, waited: float) -> dict[str, float]:
        """The means since the last call, with images per second and the share of time spent waiting for data.

        ``waited`` are the seconds waited since the run's start. Empty if no step was taken since the last call.
        Raises ``TrainingError`` if a mean is no number: then the weights are spoilt, and nothing must be saved.
        """
        if not self._sums:
            return {}
        totals = torch.stack([total.float() for total in self._sums.values()])
        self._processes.average([totals])
        means = {name: total / self._counts[name] for name, total in zip(self._sums, totals.tolist(), strict=True)}
        for name, value in means.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"{name} is {value} after {images_seen} images: the training has diverged. The last checkpoint is "
                    "from before; try a lower learning rate, or clip_norm"
                )
        now = time.perf_counter()
        elapsed = now - self._began
        means["images_per_second"] = (images_seen - self._images) / elapsed
        means["data_wait_share"] = (waited - self._waited) / elapsed
        self._sums, self._counts = {}, {}
        self._began, self._images, self._waited = now, images_seen, waited
        return means
