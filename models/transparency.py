"""Images with straight alpha, as PNG holds them: the colour is not multiplied by alpha. No torch."""

import numpy as np
from numpy.typing import NDArray

# Bounds the temporary arrays: a request's pixels at once would take more than a gigabyte, at the same speed.
_PIXELS_AT_A_TIME = 2**14


def lay_over(images: NDArray[np.uint8], background: tuple[int, int, int] | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lays images, uint8 [..., H, W, 4], over a colour (red, green, blue), or over one picture uint8 [H, W, 3].

    Returns uint8 [..., H, W, 3]. Each level is α c + (1 - α) b, rounded to the nearest, for α = alpha / 255, the level c
    of the image and b of the background: the operator *over* for an opaque background (Porter & Duff 1984, Compositing
    Digital Images, section 4.3).
    """
    shape = (*images.shape[:-1], 3)
    pixels = images.reshape(-1, 4)
    behind = np.asarray(background, np.uint8)
    if behind.ndim > 1:
        behind = np.broadcast_to(behind, shape).reshape(-1, 3)
    laid = np.empty((len(pixels), 3), np.uint8)
    for start in range(0, len(pixels), _PIXELS_AT_A_TIME):
        part = slice(start, start + _PIXELS_AT_A_TIME)
        alpha = pixels[part, 3:].astype(np.uint16)
        levels = behind if behind.ndim == 1 else behind[part]
        # At most 255², plus 128: (n + (n >> 8)) >> 8 then is the nearest whole number of /255, without a division.
        products = pixels[part, :3] * alpha + levels * (255 - alpha) + 128
        laid[part] = (products + (products >> 8)) >> 8
    return laid.reshape(shape)
