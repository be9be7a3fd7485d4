"""Sprites for tests: soft discs and squares in any colour on transparency, with random colours below alpha 0."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHAPES = ("disc", "square")


def sprite(shape: str, side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Returns one sprite uint8 [side, side, 4]; what lies below alpha 0 is noise."""
    y, x = np.mgrid[:side, :side] + 0.5
    top, left = rng.uniform(0.4, 0.6, 2) * side
    y, x = y - top, x - left
    distance = np.hypot(y, x) if shape == "disc" else np.maximum(abs(y), abs(x))
    alpha = np.clip(rng.uniform(0.2, 0.3) * side - distance + 0.5, 0, 1)
    pixels = rng.integers(0, 256, (side, side, 4), np.uint8)
    pixels[alpha > 0, :3] = rng.integers(0, 256, 3)
    pixels[..., 3] = np.rint(alpha * 255)
    return pixels


def write_sprites(folder: Path, count: int, side: int = 16) -> Path:
    """Writes PNGs into one folder per shape, and returns ``folder``."""
    rng = np.random.default_rng(0)
    for index in range(count):
        shape = SHAPES[index % 2]
        path = folder / shape / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sprite(shape, side, rng)).save(path)
    return folder
