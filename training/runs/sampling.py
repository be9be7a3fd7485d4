"""Generates images as uint8, and lays them out in grids."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from models.grid import grid
from models.noise import noise_for_seeds
from models.transparency import checkerboard, lay_over
from training.data.pixels import to_pixels

Result = TypeVar("Result")


class ImageGenerator(nn.Module):
    """A generator that returns pixels: it scales, clamps, rounds and transposes inside the graph that is exported."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor, label: Tensor | None, truncation: Tensor) -> Tensor:
        """Noise float [N, Z], label int64 [N] or None, truncation float [N] → images uint8 [N, H, W, C]."""
        images: Tensor = self.generator(noise, label, truncation)
        return to_pixels(images).permute(0, 2, 3, 1)


def grid_inputs(noise_dim: int, labels: int, rows: int = 8, columns: int = 10) -> tuple[Tensor, Tensor | None]:
    """Returns noise [N, Z] and label [N] of a sample grid, always from the same seeds; each column has one label."""
    columns = min(labels, columns) or columns
    noise = torch.from_numpy(noise_for_seeds(range(rows * columns), noise_dim))
    label = torch.arange(columns).repeat(rows) if labels else None
    return noise, label


def in_batches(compute: Callable[[int, int], Result], count: int, batch: int) -> Iterator[Result]:
    """Yields ``compute(first, last)`` for consecutive batches of ``count`` items.

    Halves the batch, for the rest as well, when it does not fit into the device's memory: how much a training leaves
    free is unknown before it is tried. Raises ``torch.OutOfMemoryError`` if a single item does not fit.
    """
    first = 0
    while True:
        last = min(first + batch, count)
        try:
            result = compute(first, last)
        except torch.OutOfMemoryError:
            if last - first <= 1:
                raise
        else:
            yield result
            first = last
            if first >= count:
                return
            continue
        batch = (last - first) // 2  # after the handler, whose error would keep the failed batch's tensors alive


@torch.no_grad()
def sample(generator: nn.Module, noise: Tensor, label: Tensor | None) -> NDArray[np.uint8]:
    """Returns images uint8 [N, H, W, C] of a generator in evaluation mode, computed in float32."""
    device = next(generator.parameters()).device
    label = None if label is None else label.to(device)
    image_generator = ImageGenerator(generator)

    def generate(first: int, last: int) -> NDArray[np.uint8]:
        chosen = None if label is None else label[first:last]
        truncation = torch.ones(last - first, device=device)
        images: NDArray[np.uint8] = image_generator(noise[first:last].to(device), chosen, truncation).cpu().numpy()
        return images

    return np.concatenate(list(in_batches(generate, len(noise), len(noise))))


def image_grid(images: NDArray[np.uint8], columns: int) -> Image.Image:
    """Lays out images uint8 [N, H, W, C] row by row, transparent ones over a checkerboard; empty cells stay black."""
    if images.shape[3] == 4:
        images = lay_over(images, checkerboard(*images.shape[1:3]))
    canvas = grid(images, columns)
    return Image.fromarray(canvas.squeeze(2) if canvas.shape[2] == 1 else canvas)


def side_by_side(left: Image.Image, right: Image.Image, gap: int = 8) -> Image.Image:
    """Returns two pictures of the same height and mode beside each other, with a white gap in pixels between them."""
    both = Image.new(left.mode, (left.width + gap + right.width, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + gap, 0))
    return both
