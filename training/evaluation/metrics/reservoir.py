"""A bounded uniform sample of a stream, for metrics that compare images or features one by one."""

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = TypeVar("Rows", Tensor, NDArray[Any], Tensor | NDArray[Any])


class Reservoir:
    """Holds ``capacity`` rows of a stream, each row with equal probability (Vitter 1985, algorithm R).

    Row i of the stream fills slot i. Once all slots are full, it replaces slot ⌊u (i + 1)⌋ if there is one; u is the
    i-th uniform number of ``seed``. The sample depends on the stream's order, but not on its batches. Two reservoirs
    with one seed hold the same positions of two streams.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self._capacity = capacity
        self._random = np.random.RandomState(seed)
        self._rows: NDArray[Any] | None = None
        self._seen = 0

    @property
    def seen(self) -> int:
        """The number of rows added."""
        return self._seen

    def add(self, rows: Tensor | NDArray[Any]) -> None:
        """Adds the next rows [n, …]; the first call fixes their shape and type."""
        batch: NDArray[Any] = rows.detach().cpu().numpy() if isinstance(rows, Tensor) else rows
        if self._rows is None:
            self._rows = np.empty((self._capacity, *batch.shape[1:]), batch.dtype)
        positions = self._seen + np.arange(len(batch))
        drawn = np.floor(self._random.random_sample(len(batch)) * (positions + 1)).astype(np.int64)
        slots = np.where(positions < self._capacity, positions, drawn)
        # NumPy does not define which of two writes to one slot wins; here the later row must.
        slots, from_end = np.unique(slots[::-1], return_index=True)
        kept = slots < self._capacity
        self._rows[slots[kept]] = batch[::-1][from_end[kept]]
        self._seen += len(batch)

    def sample(self) -> NDArray[Any]:
        """Returns the held rows [min(capacity, seen), …] in slot order; empty before the first ``add``."""
        if self._rows is None:
            return np.empty((0, 0), np.float32)
        return self._rows[: self._seen].copy()


def random_rows(rows: Rows, limit: int, seed: int) -> Rows:
    """Returns all rows, or a random sample of ``limit`` rows drawn with ``seed``."""
    if len(rows) <= limit:
        return rows
    reservoir = Reservoir(limit, seed)
    reservoir.add(rows)
    sample = reservoir.sample()
    return torch.from_numpy(sample).to(rows.device) if isinstance(rows, Tensor) else sample
