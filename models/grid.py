"""Arranges many images as one: the layout of training's sample grids and of the service's grids."""

import math

import numpy as np
from numpy.typing import NDArray


def grid(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Arranges images, uint8 [N, H, W, C], as one [rows·H, columns·W, C], filled row by row.

    The rest is black, or transparent where C = 4.
    """
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, height, width, channels), np.uint8)
    cells[:count] = images
    table = cells.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return table.reshape(rows * height, columns * width, channels)


def square_columns(count: int) -> int:
    """Returns the number of columns that makes a grid of ``count`` images as square as possible."""
    return math.isqrt(count - 1) + 1
