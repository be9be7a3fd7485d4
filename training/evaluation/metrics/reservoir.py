"""A bounded uniform sample of a stream, for the measures that must see images or features side by side."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Reservoir:
    """Holds ``capacity`` rows of a stream, each row of it equally likely to be among them (Vitter 1985, algorithm R).

    Row i of the stream fills slot i, or, once all are full, replaces the slot ⌊u (i + 1)⌋ if there is one, with the
    i-th uniform number u of ``seed``. So the sample depends on the stream's order but not on how it was cut into
    batches, and two reservoirs with one seed keep the same positions of two streams.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self._capacity = capacity
        self._random = np.random.RandomState(seed)
        self._rows: NDArray[Any] | None = None
        self._seen = 0

    @property
    def seen(self) -> int:
        """How many rows have come by."""
        return self._seen

    def add(self, rows: Tensor | NDArray[Any]) -> None:
        """Takes the next rows [n, …]; the first call settles their shape and type."""
        batch: NDArray[Any] = rows.detach().cpu().numpy() if isinstance(rows, Tensor) else rows
        if self._rows is None:
            self._rows = np.empty((self._capacity, *batch.shape[1:]), batch.dtype)
        positions = self._seen + np.arange(len(batch))
        drawn = np.floor(self._random.random_sample(len(batch)) * (positions + 1)).astype(np.int64)
        slots = np.where(positions < self._capacity, positions, drawn)
        # NumPy leaves open which of two writes to one slot stays; it must be the later row.
        slots, from_the_end = np.unique(slots[::-1], return_index=True)
        kept = slots < self._capacity
        self._rows[slots[kept]] = batch[::-1][from_the_end[kept]]
        self._seen += len(batch)

    def sample(self) -> NDArray[Any]:
        """The rows kept, [min(capacity, seen), …], in the order of their slots. Empty before the first rows came."""
        if self._rows is None:
            return np.empty((0, 0), np.float32)
        return self._rows[: self._seen].copy()
