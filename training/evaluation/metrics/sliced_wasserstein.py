"""The sliced Wasserstein distance between image patches: a second opinion without a network."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, pad

from training.errors import TrainingError
from training.evaluation.metrics.reservoir import random_rows

PATCH = 7
PATCHES_PER_IMAGE = 128
DIRECTIONS = 512
SMALLEST_LEVEL = 16

_BATCH_VALUES = 1 << 22
_DIRECTIONS_AT_ONCE = 16


@dataclass(frozen=True)
class SlicedWasserstein:
    """Distances × 1000, the unit of published values."""

    levels: dict[int, float]
    """By the height of the pyramid level in pixels, full resolution first."""
    mean: float
    """The mean over the levels."""


def sliced_wasserstein(
    real: NDArray[np.uint8], fake: NDArray[np.uint8], *, limit: int = 2048, seed: int = 0
) -> SlicedWasserstein:
    """Compares 7 × 7 patches on every level of a Laplacian pyramid (Karras et al. 2018, section 5).

    Each image of uint8 [N, H, W, C] gives 128 patches per level, at random positions. Each channel of each side is
    normalised to mean 0 and deviation 1, so overall brightness and contrast do not count. The distance is the mean over
    512 random directions of the 1-Wasserstein distance between the projected patches. Levels halve down to 16 pixels.
    Both sides get equally many images, at most ``limit``: a random sample drawn with ``seed``, as are positions and
    directions. Real images against real images score above 0; their score falls with more images. Raises
    ``TrainingError`` for images of different or too small sizes, or fewer than 2 of them.
    """
    _check(real, fake)
    count = min(limit, len(real), len(fake))
    sides = [random_rows(images, count, seed) for images in (real, fake)]
    random = np.random.RandomState(seed)
    height, width, channels = real.shape[1:]
    depth = _depth(height, width)
    levels = {}
    for level in range(depth):
        directions = random.randn(DIRECTIONS, channels * PATCH * PATCH)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        reals, fakes = (_patches(images, level, level == depth - 1, random) for images in sides)
        levels[height >> level] = 1000 * _distance(reals, fakes, torch.from_numpy(directions).float())
    return SlicedWasserstein(levels, float(np.mean(list(levels.values()))))


def _check(real: NDArray[Any], fake: NDArray[Any]) -> None:
    for images, kind in ((real, "real"), (fake, "generated")):
        if images.dtype != np.uint8 or images.ndim != 4:
            raise TrainingError(
                f"the {kind} images must be uint8 of shape [N, H, W, C], not {images.dtype} {list(images.shape)}"
            )
        if len(images) < 2:
            raise TrainingError(f"the sliced Wasserstein distance needs at least 2 {kind} images, not {len(images)}")
    if real.shape[1:] != fake.shape[1:]:
        raise TrainingError(
            f"real images of {_size(real)} and generated ones of {_size(fake)} (H × W × C) cannot be compared"
        )
    if min(real.shape[1:3]) < PATCH:
        raise TrainingError(f"the sliced Wasserstein distance needs images of {PATCH} pixels a side, not {_size(real)}")


def _size(images: NDArray[Any]) -> str:
    return " × ".join(str(side) for side in images.shape[1:])


def _depth(height: int, width: int) -> int:
    """Returns the number of levels: sides halve while both are even and stay at 16 pixels or more."""
    depth = 1
    while height % 2 == width % 2 == 0 and min(height, width) >= 2 * SMALLEST_LEVEL:
        height, width, depth = height // 2, width // 2, depth + 1
    return depth


def _patches(images: NDArray[np.uint8], level: int, last: bool, random: np.random.RandomState) -> Tensor:
    """Returns normalised patches of one level, float32 [N · 128, C · 49]."""
    channels = images.shape[3]
    patches = np.empty((len(images) * PATCHES_PER_IMAGE, channels, PATCH * PATCH), np.float32)
    batch = max(1, _BATCH_VALUES // images[0].size)
    for begin in range(0, len(images), batch):
        pixels = torch.from_numpy(images[begin : begin + batch].astype(np.float32)).permute(0, 3, 1, 2)
        band = _band(pixels, level, last)
        count, _, height, width = band.shape
        top = torch.from_numpy(random.randint(0, height - PATCH + 1, (count, PATCHES_PER_IMAGE)))
        left = torch.from_numpy(random.randint(0, width - PATCH + 1, (count, PATCHES_PER_IMAGE)))
        windows = band.unfold(2, PATCH, 1).unfold(3, PATCH, 1)
        chosen = windows[torch.arange(count)[:, None], :, top, left]
        first = begin * PATCHES_PER_IMAGE
        patches[first : first + count * PATCHES_PER_IMAGE] = chosen.reshape(-1, channels, PATCH * PATCH).numpy()
    for channel in range(channels):
        values = patches[:, channel]
        values -= values.mean(dtype=np.float64).astype(np.float32)
        # A constant channel stays at 0.
        values /= np.sqrt(np.mean(np.square(values), dtype=np.float64)).astype(np.float32) or np.float32(1)
    return torch.from_numpy(patches.reshape(len(patches), -1))


def _distance(a: Tensor, b: Tensor, directions: Tensor) -> float:
    total = 0.0
    for begin in range(0, len(directions), _DIRECTIONS_AT_ONCE):
        chunk = directions[begin : begin + _DIRECTIONS_AT_ONCE]
        # In one dimension, optimal transport pairs sorted values. NumPy sorts them many times faster than PyTorch.
        gaps = np.sort((chunk @ a.T).numpy(), axis=1) - np.sort((chunk @ b.T).numpy(), axis=1)
        total += float(np.abs(gaps).mean(axis=1, dtype=np.float64).sum())
    return total / len(directions)


def _band(images: Tensor, level: int, last: bool) -> Tensor:
    """Returns a level of the Laplacian pyramid: detail removed by blurring, or the last blurred image (Burt 1983)."""
    for _ in range(level):
        images = _halve(images)
    return images if last else images - _double(_halve(images))


def _halve(images: Tensor) -> Tensor:
    return _blur(images)[:, :, ::2, ::2]


def _double(images: Tensor) -> Tensor:
    count, channels, height, width = images.shape
    spread = images.new_zeros(count, channels, 2 * height, 2 * width)
    spread[:, :, ::2, ::2] = images
    return 4 * _blur(spread)


def _blur(images: Tensor) -> Tensor:
    """Applies the binomial filter (1 4 6 4 1) / 16 along both axes, edges mirrored."""
    count, channels, height, width = images.shape
    row = images.new_tensor([1, 4, 6, 4, 1]) / 16
    padded = pad(images.reshape(count * channels, 1, height, width), (2, 2, 2, 2), mode="reflect")
    blurred = conv2d(conv2d(padded, row.view(1, 1, 1, 5)), row.view(1, 1, 5, 1))
    return blurred.view(count, channels, height, width)
