"""Random numbers that do not depend on how many processes share a batch."""

import torch
from torch import Tensor


class BatchRng:
    """What is random in one training step, one value or vector per image.

    Every process draws for the whole batch from the same seed and keeps its own share, so the step is the same step
    however many processes take it.
    """

    def __init__(self, seed: int, device: torch.device, rank: int = 0, processes: int = 1) -> None:
        self._generator = torch.Generator(device).manual_seed(seed)
        self._device, self._rank, self._processes = device, rank, processes

    def normal(self, count: int, *shape: int) -> Tensor:
        """Standard normal numbers float32 [count, *shape], for this process's ``count`` images."""
        whole = torch.randn((count * self._processes, *shape), generator=self._generator, device=self._device)
        return self._share(whole, count)

    def uniform(self, count: int, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), float32 [count, *shape], for this process's ``count`` images."""
        whole = torch.rand((count * self._processes, *shape), generator=self._generator, device=self._device)
        return self._share(whole, count)

    def _share(self, whole: Tensor, count: int) -> Tensor:
        return whole[self._rank * count : (self._rank + 1) * count]
