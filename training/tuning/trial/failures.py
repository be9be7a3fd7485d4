"""Detects failed runs without comparing them with others, so a run may end long before the first rung."""

import torch
from torch import Tensor, nn

from models.noise import noise_for_seeds

NOISE_VECTORS, LABELS = 8, 4
COLLAPSED_DEVIATION = 0.01
"""Mean standard deviation of a pixel in [-1, 1] over the noise, for one label. A DCGAN of digits has 0.07 to 0.09."""
WARMUP_STEPS = 200
"""Steps without a check: a fresh generator returns one image for every noise."""
STALLED_CHANGE = 1e-4
"""Mean change of a pixel since the last check. A run that learns changes several hundred times as much."""
STALL_CHECK_SHARE = 0.5
"""Share of the budget with checks for a stall. Later, a decaying learning rate may rightly stop the generator."""


class FailureDetector:
    """Compares a generator's images of the same noise at every check."""

    def __init__(self, noise_dim: int, labels: int, images: int, batch_size: int) -> None:
        """Takes ``labels`` = 0 for an unconditional generator, and the budget ``images``."""
        groups = min(labels, LABELS) or 1
        self._noise = torch.from_numpy(noise_for_seeds(range(groups * NOISE_VECTORS), noise_dim))
        self._label = torch.arange(groups).repeat_interleave(NOISE_VECTORS) if labels else None
        self._budget, self._warmup = images, WARMUP_STEPS * batch_size
        self._before: Tensor | None = None

    def check(self, images_seen: int, generator: nn.Module) -> str | None:
        """Returns the failure in words, or None. The generator returns to the mode it was in."""
        if images_seen < self._warmup:
            return None
        images = self._generate(generator)
        before, self._before = self._before, images
        spent = images_seen / self._budget
        groups = images.reshape(-1, NOISE_VECTORS, *images.shape[1:])
        if groups.std(1).mean() < COLLAPSED_DEVIATION:
            return f"one image for every noise, after {images_seen} images"
        if before is not None and spent <= STALL_CHECK_SHARE and (images - before).abs().mean() < STALLED_CHANGE:
            return f"the generator no longer changes, after {images_seen} images"
        return None

    @torch.no_grad()
    def _generate(self, generator: nn.Module) -> Tensor:
        device = next(generator.parameters()).device
        mode = generator.training
        generator.eval()
        try:
            label = None if self._label is None else self._label.to(device)
            images: Tensor = generator(self._noise.to(device), label, torch.ones(len(self._noise), device=device))
        finally:
            generator.train(mode)
        return images.float().clamp(-1, 1).cpu()
