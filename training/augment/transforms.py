"""Geometric and colour transformations as matrices, one per image.

A geometric matrix [N, 3, 3] maps the position of an output pixel to the position in the input that it shows. Positions
are in pixels from the centre, x to the right and y down. The product ``first @ second`` applies the first, then the
second.
"""

import math

import torch
from torch import Tensor

from training.augment.resampling import resample


def mirror(mirrored: Tensor) -> Tensor:
    """Returns matrices that mirror left to right where ``mirrored`` float [N] is 1, and do nothing where it is 0."""
    return _matrices(1 - 2 * mirrored, 0, 0, 0, 1, 0)


def rotation(angle: Tensor) -> Tensor:
    """Returns matrices that rotate counter-clockwise by ``angle`` float [N], in radians."""
    cosine, sine = angle.cos(), angle.sin()
    return _matrices(cosine, -sine, 0, sine, cosine, 0)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Returns matrices that make images ``x`` times as wide and ``y`` times as high, each float [N]."""
    return _matrices(1 / x, 0, 0, 0, 1 / y, 0)


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Returns matrices that shift by ``x`` pixels to the right and ``y`` down, each float [N]."""
    return _matrices(1, 0, -x, 0, 1, -y)


def warp(images: Tensor, geometry: Tensor) -> Tensor:
    """Transforms images float32 [N, C, H, W] by matrices [N, 3, 3], bilinearly, mirrored beyond the edges."""
    height, width = images.shape[2:]
    a, b, x, c, d, y = geometry[:, :2].flatten(1).unbind(1)
    # A grid's unit is half a side, so entries that mix the axes change their unit.
    grid_matrices = _matrices(a, b * (height / width), x * (2 / width), c * (width / height), d, y * (2 / height))
    across, down, shift = grid_matrices[:, None, :2].unbind(3)
    columns, rows = (((2 * torch.arange(side, device=x.device) + 1) / side - 1)[:, None] for side in (width, height))
    return resample(images, (columns * across)[:, None] + (rows * down + shift)[:, :, None])


def recolour(images: Tensor, luma: Tensor, chroma: Tensor, hue: Tensor) -> Tensor:
    """Scales the grey part of images float32 [N, C, H, W] by ``luma``, and scales and turns their chroma.

    ``luma``, ``chroma`` and ``hue`` are float [N]. Chroma is what remains without the grey part: 0 in grey images. Hue
    is an angle in radians around the axis of greys; a third of a turn maps red to green.
    """
    if images.shape[1] == 1:
        return images * luma.view(-1, 1, 1, 1)
    identity = torch.eye(3, device=images.device)
    grey = torch.full_like(identity, 1 / 3)
    # The cross product with the grey axis turns chroma by a quarter.
    quarter_turn = (identity.roll(1, 0) - identity.roll(-1, 0)) / math.sqrt(3)
    luma, chroma, hue = (factor.view(-1, 1, 1) for factor in (luma, chroma, hue))
    matrix = luma * grey + chroma * (hue.cos() * (identity - grey) + hue.sin() * quarter_turn)
    return (matrix @ images.flatten(2)).view_as(images)


def _matrices(*rows: Tensor | float) -> Tensor:
    """Returns matrices [N, 3, 3] from the entries of the two upper rows; the last row is 0 0 1."""
    like = next(entry for entry in rows if isinstance(entry, Tensor))
    entries = [entry if isinstance(entry, Tensor) else torch.full_like(like, entry) for entry in (*rows, 0, 0, 1)]
    return torch.stack(entries, 1).view(-1, 3, 3)
