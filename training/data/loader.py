"""Loads batches of real images ahead of the training loop, in a seeded order that can start anywhere."""

import functools
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.balance import BalancedOrder
from training.data.dataset import TrainingImages
from training.data.pixels import to_range
from training.data.split import training_indices
from training.parallel.distributed import Processes


class BatchLoader:
    """Loads batches in a seeded order. While one trains, a thread reads the next from the mapped file."""

    def __init__(
        self,
        data: TrainingImages,
        labels: int,
        seed: int,
        batch_size: int,
        processes: Processes,
        holdout: float = 0,
        balance: bool = False,
    ) -> None:
        """``labels`` is 0 for an unconditional run; ``batch_size`` counts all processes together.

        ``holdout`` is the share of the images that no batch holds. ``balance`` draws all labels of the data equally
        often, which needs data with labels.
        """
        self._data, self._labels, self._batch_size = data, labels, batch_size
        self._training = training_indices(len(data), holdout)
        self._order: Callable[[int, int], NDArray[np.int64]] = functools.partial(
            batch_indices, len(self._training), seed
        )
        if balance:
            assert data.labels is not None, "check_data rejects balance without labels"
            self._order = BalancedOrder(data.labels[self._training], seed).indices
        self._processes, self._share = processes, processes.share(batch_size)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch-loader")
        self._next: tuple[int, Future[tuple[Tensor, Tensor | None]]] | None = None
        self.waited = 0.0
        """Seconds that the training has waited for images so far."""

    def __enter__(self) -> "BatchLoader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def take(self, images_seen: int) -> tuple[Tensor, Tensor | None]:
        """Returns this process's share of the batch that begins after ``images_seen`` images.

        Reals are float [N, C, H, W] in -1 … 1, see ``to_range``. Labels are int64 [N], or None. Both are on the device.
        """
        began = time.perf_counter()
        start, reading = self._next or (None, None)
        pixels, label = reading.result() if reading and start == images_seen else self._read(images_seen)
        self.waited += time.perf_counter() - began
        following = images_seen + self._batch_size
        self._next = (following, self._thread.submit(self._read, following))
        device = self._processes.device
        reals = to_range(pixels.to(device, non_blocking=True))
        return reals, None if label is None else label.to(device, non_blocking=True)

    def _read(self, images_seen: int) -> tuple[Tensor, Tensor | None]:
        start = images_seen + self._processes.rank * self._share
        indices = self._training[self._order(start, self._share)]
        # A view of [N, H, W, C], so the batch is channels last in memory.
        pixels = torch.from_numpy(self._data.images[indices]).permute(0, 3, 1, 2)
        has_label = self._labels and self._data.labels is not None
        label = torch.from_numpy(self._data.labels[indices]) if has_label else None  # type: ignore[index]
        if self._processes.device.type == "cuda":
            return pixels.pin_memory(), None if label is None else label.pin_memory()
        return pixels, label


def batch_indices(size: int, seed: int, start: int, count: int) -> NDArray[np.int64]:
    """Returns the images at positions start … start + count - 1 of an endless series of shuffled epochs."""
    positions = np.arange(start, start + count)
    indices = np.empty(count, dtype=np.int64)
    for epoch in np.unique(positions // size):
        here = positions // size == epoch
        indices[here] = _shuffled(size, seed, int(epoch))[positions[here] % size]
    return indices


@functools.lru_cache(maxsize=2)  # a batch no larger than the data spans two epochs at most
def _shuffled(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((size, seed, epoch)).permutation(size)
