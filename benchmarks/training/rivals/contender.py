"""What every contender can do, and the runner of the two that are written here rather than in the trainer."""

import itertools
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.loader import batch_indices
from training.data.pixels import to_pixels, to_range
from training.errors import DivergenceError
from training.evaluation.seeds import TELLING

SEED = 0
"""Of initial weights and of the order of the images."""


class Contender(Protocol):
    """A generator that learns until it is stopped, or until its budget is spent."""

    @property
    def images_seen(self) -> int:
        """Real images that the discriminator has seen."""

    @property
    def precision(self) -> str:
        """``float32`` or ``bfloat16``: what the steps compute in. Equal settings may differ in it between machines."""

    def train(self, after_step: Callable[[], None]) -> None:
        """Takes steps, and calls ``after_step`` after each; passes on what that raises.

        Raises ``DivergenceError`` if the training diverges.
        """

    def sample(self, count: int) -> NDArray[np.uint8]:
        """Returns generated images uint8 [count, H, W, C], always of the same noise: no choice was made by it.

        Raises ``DivergenceError`` if they are NaN or infinite.
        """


class Model(Protocol):
    """Two networks and the step that trains them."""

    batch_size: int
    noise_dim: int

    def step(self, reals: Tensor) -> None:
        """Takes one step of each network on images float [N, C, H, W] in -1 … 1."""

    def generate(self, noise: Tensor) -> Tensor:
        """Maps noise [N, noise_dim] to images float [N, C, H, W] in -1 … 1."""


class ModelContender:
    """Trains a ``Model`` on shuffled epochs of images, in float32 as PyTorch does by itself."""

    precision = "float32"

    def __init__(self, model: Model, images: NDArray[np.uint8]) -> None:
        """Takes images uint8 [N, H, W, C]."""
        self._model, self._images, self.images_seen = model, images, 0

    def train(self, after_step: Callable[[], None]) -> None:
        """Trains until ``after_step`` raises: its rates are constant, and no budget ends it."""
        batch_size = self._model.batch_size
        for start in itertools.count(0, batch_size):
            pixels = self._images[batch_indices(len(self._images), SEED, start, batch_size)]
            self._model.step(to_range(torch.from_numpy(pixels).permute(0, 3, 1, 2)))
            self.images_seen += batch_size
            after_step()

    @torch.no_grad()
    def sample(self, count: int) -> NDArray[np.uint8]:
        """Generates whole batches, since a generator may normalise over its batch."""
        batch_size, random = self._model.batch_size, torch.Generator().manual_seed(TELLING)
        batches = []
        for _ in range(-(-count // batch_size)):
            images = self._model.generate(torch.randn(batch_size, self._model.noise_dim, generator=random))
            if not images.isfinite().all():
                raise DivergenceError(f"generated images are NaN or infinite after {self.images_seen} images")
            batches.append(to_pixels(images).permute(0, 2, 3, 1))
        return torch.cat(batches)[:count].numpy()
