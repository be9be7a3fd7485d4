"""Random numbers that do not depend on the number of processes."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor


class BatchRng:
    """Draws the random numbers of one training step, one value or vector per image.

    Every process draws for the whole batch from the same seed and keeps its own share. So the step is the same for any
    number of processes.
    """

    def __init__(self, seed: int, device: torch.device, rank: int = 0, processes: int = 1) -> None:
        self._generator = torch.Generator(device).manual_seed(seed)
        self._device, self._rank, self._processes = device, rank, processes

    def normal(self, count: int, *shape: int) -> Tensor:
        """Returns standard normal numbers float32 [count, *shape] for this process's ``count`` images."""
        whole = torch.randn((count * self._processes, *shape), generator=self._generator, device=self._device)
        return self._share(whole, count)

    def uniform(self, count: int, *shape: int) -> Tensor:
        """Returns uniform numbers in [0, 1), float32 [count, *shape], for this process's ``count`` images."""
        whole = torch.rand((count * self._processes, *shape), generator=self._generator, device=self._device)
        return self._share(whole, count)

    def split(self, count: int) -> Iterator["BatchRng"]:
        """Yields the random numbers of ``count`` equal parts of this process's images, one part after the other.

        Draw for one part what you draw for the next, before you take the next: each begins at the same point, draws for
        the whole batch, and keeps what the part's images would have got from this object. Afterwards, this object
        continues as if it had drawn for them itself.
        """
        begin = self._generator.get_state()
        for part in range(count):
            self._generator.set_state(begin)
            yield self._part(part, count)

    def _part(self, part: int, count: int) -> "BatchRng":
        rng = copy.copy(self)  # shares the generator
        rng._rank, rng._processes = self._rank * count + part, self._processes * count
        return rng

    def _share(self, whole: Tensor, count: int) -> Tensor:
        return whole[self._rank * count : (self._rank + 1) * count]
