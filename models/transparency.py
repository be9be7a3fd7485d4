"""Transparent images: uint8 [N, H, W, 4] with straight alpha, as PNG holds them.

Straight means that the colour is not yet multiplied by alpha. A pixel with alpha 0 shows no colour; Figment writes
black there.
"""

import numpy as np
from numpy.typing import NDArray

MID_GREY = (128, 128, 128)
"""The colour behind images for networks that take no alpha.

Over white, nobody sees the alpha of white content, and over black that of black content. Drawings hold much of both,
and little of this grey.
"""

# Bounds the temporary arrays: the service's largest request at once would take more than a gigabyte, at the same speed.
_PIXELS_AT_A_TIME = 2**14

_LIGHT, _DARK = 255, 204
_SQUARES = 8


def lay_over(images: NDArray[np.uint8], colour: tuple[int, int, int] | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns images uint8 [..., H, W, 4] laid over a colour (red, green, blue), or over one picture uint8 [H, W, 3].

    The result is uint8 [..., H, W, 3]: α c + (1 - α) b, rounded to the nearest level, for α = alpha / 255, the level c
    of the image and b of the background. It is the operator *over* for an opaque background (Porter & Duff 1984,
    Compositing Digital Images, section 4.3).
    """
    shape = (*images.shape[:-1], 3)
    pixels = images.reshape(-1, 4)
    behind = np.asarray(colour, np.uint8)
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


def premultiply(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Multiplies the colours of uint8 [N, H, W, 4] by alpha, and returns images without alpha unchanged.

    Two images look the same over every colour if and only if their premultiplied pixels are the same.
    """
    if images.shape[3] != 4:
        return images
    return np.concatenate([lay_over(images, (0, 0, 0)), images[..., 3:]], axis=3)


def checkerboard(height: int, width: int) -> NDArray[np.uint8]:
    """Returns a light chequered background uint8 [H, W, 3], eight squares along its shorter side."""
    square = max(1, min(height, width) // _SQUARES)
    odd = (np.arange(height)[:, None] // square + np.arange(width) // square) % 2
    return np.where(odd, _DARK, _LIGHT).astype(np.uint8)[..., None].repeat(3, axis=2)
