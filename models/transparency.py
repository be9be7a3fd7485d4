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

_LIGHT, _DARK = 255, 204
_SQUARES = 8


def lay_over(images: NDArray[np.uint8], colour: tuple[int, int, int] | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns images uint8 [N, H, W, 4] laid over a colour (red, green, blue), or over one picture uint8 [H, W, 3].

    The result is uint8 [N, H, W, 3], rounded to the nearest level.
    """
    alpha = images[..., 3:].astype(np.uint32)
    # Adding 127 rounds to the nearest: 255 is odd, so nothing lies in the middle between two levels.
    mixed = (images[..., :3] * alpha + np.asarray(colour, np.uint32) * (255 - alpha) + 127) // 255
    return mixed.astype(np.uint8)


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
