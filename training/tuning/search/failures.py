"""When a run has failed for sure: nothing here compares runs, so it may end one long before the first rung."""

import torch
from torch import Tensor, nn

from models.noise import noise_for_seeds

NOISES, LABELS = 8, 4
SAME_IMAGE = 0.01
"""Mean standard deviation of a pixel (-1 … 1) over the noise, for one label; a DCGAN of digits has 0.07 to 0.09."""
FIRST_STEPS = 200
"""Steps in which nothing is said: a generator begins with one image for every noise."""
STANDSTILL = 1e-4
"""Mean change of a pixel since the last check; a run that learns changes several hundred times as much."""
SLOWED_DOWN = 0.5
"""Share of the budget after which a learning rate that decays may bring the generator to rest in good order."""


class FailureWatch:
    """Looks at a generator on noise that is always the same."""

    def __init__(self, noise_dim: int, labels: int, images: int, batch_size: int) -> None:
        """``labels`` is 0 for an unconditional generator, ``images`` the budget."""
        groups = min(labels, LABELS) or 1
        self._noise = torch.from_numpy(noise_for_seeds(range(groups * NOISES), noise_dim))
        self._label = torch.arange(groups).repeat_interleave(NOISES) if labels else None
        self._images, self._first = images, FIRST_STEPS * batch_size
        self._before: Tensor | None = None

    def check(self, images_seen: int, generator: nn.Module) -> str | None:
        """What is wrong with the generator in words, or None. It is left in the mode it was in."""
        if images_seen < self._first:
            return None
        pictures = self._draw(generator)
        before, self._before = self._before, pictures
        spent = images_seen / self._images
        groups = pictures.reshape(-1, NOISES, *pictures.shape[1:])
        if groups.std(1).mean() < SAME_IMAGE:
            return f"one image for every noise, after {images_seen} images"
        if before is not None and spent <= SLOWED_DOWN and (pictures - before).abs().mean() < STANDSTILL:
            return f"the generator no longer changes, after {images_seen} images"
        return None

    @torch.no_grad()
    def _draw(self, generator: nn.Module) -> Tensor:
        device = next(generator.parameters()).device
        mode = generator.training
        generator.eval()
        try:
            label = None if self._label is None else self._label.to(device)
            images: Tensor = generator(self._noise.to(device), label, torch.ones(len(self._noise), device=device))
        finally:
            generator.train(mode)
        return images.float().clamp(-1, 1).cpu()
