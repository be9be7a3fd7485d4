"""Lays images with an alpha channel over a colour, and reads that colour's name. No torch."""

import re

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""Red, green and blue, each 0 … 255."""

COLOUR_PATTERN = r"^(white|black|#[0-9a-fA-F]{6})$"
COLOUR_SYNTAX = "white, black or #rrggbb"

_NAMED: dict[str, Colour] = {"white": (255, 255, 255), "black": (0, 0, 0)}

# Bounds the temporary arrays: a request's pixels at once would take more than a gigabyte, at the same speed.
_PIXELS_AT_A_TIME = 2**14


def parse_colour(text: str) -> Colour:
    """Returns the levels of ``white``, ``black`` or ``#rrggbb``. Raises ``ValueError`` for any other text."""
    if not re.fullmatch(COLOUR_PATTERN, text):
        raise ValueError(f"must be {COLOUR_SYNTAX}, such as #ff8800")
    if text in _NAMED:
        return _NAMED[text]
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def lay_over(images: NDArray[np.uint8], colour: Colour) -> NDArray[np.uint8]:
    """Lays images over a colour: uint8 [..., 4], straight alpha, in; uint8 [..., 3], opaque, out.

    Each level is round(α c + (1 - α) b) for α = alpha / 255, level c and background b: the operator *over* for an
    opaque background (Porter & Duff 1984, Compositing Digital Images, section 4.3).
    """
    pixels = images.reshape(-1, 4)
    laid = np.empty((len(pixels), 3), np.uint8)
    background = np.array(colour, np.uint16)
    for start in range(0, len(pixels), _PIXELS_AT_A_TIME):
        part = pixels[start : start + _PIXELS_AT_A_TIME].astype(np.uint16)
        alpha = part[:, 3:]
        # At most 255², plus 128: (n + (n >> 8)) >> 8 then is the nearest whole number of /255, without a division.
        products = part[:, :3] * alpha + background * (255 - alpha) + 128
        laid[start : start + len(part)] = (products + (products >> 8)) >> 8
    return laid.reshape(*images.shape[:-1], 3)
