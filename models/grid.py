"""Many images as one: the layout that training's grids of samples and the service's grids share."""

import numpy as np
from numpy.typing import NDArray


def grid(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Images uint8 [N, H, W, C] as one [rows·H, columns·W, C], filled row by row; the rest is black."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, height, width, channels), np.uint8)
    cells[:count] = images
    table = cells.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return table.reshape(rows * height, columns * width, channels)
