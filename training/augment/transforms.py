"""Geometry and colour as matrices, one per image: what an augmentation does once its amounts are drawn.

A matrix of geometry [N, 3, 3] takes the place of a pixel in the result to the place in the image that it shows, in
pixels from the centre, x to the right and y down. So the product ``first @ second`` transforms by the first, then by
the second.
"""

import math

import torch
from torch import Tensor

from training.augment.resampling import resample


def mirror(which: Tensor) -> Tensor:
    """Mirrors left to right the images where ``which`` float [N] is 1, and not those where it is 0."""
    return _matrices(1 - 2 * which, 0, 0, 0, 1, 0)


def rotation(angle: Tensor) -> Tensor:
    """Turns counter-clockwise by ``angle`` float [N], in radians."""
    cosine, sine = angle.cos(), angle.sin()
    return _matrices(cosine, -sine, 0, sine, cosine, 0)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Makes images ``x`` times as wide and ``y`` times as high, each float [N]."""
    return _matrices(1 / x, 0, 0, 0, 1 / y, 0)


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Moves by ``x`` pixels to the right and ``y`` down, each float [N]."""
    return _matrices(1, 0, -x, 0, 1, -y)


def warp(images: Tensor, geometry: Tensor) -> Tensor:
    """Images float32 [N, C, H, W] transformed by [N, 3, 3], bilinear, mirrored beyond their edges."""
    height, width = images.shape[2:]
    a, b, x, c, d, y = geometry[:, :2].flatten(1).unbind(1)
    # Grids count half a side as 1, so what goes from one axis to the other changes its unit.
    fit_and_holdout = _matrices(a, b * (height / width), x * (2 / width), c * (width / height), d, y * (2 / height))
    across, down, shift = fit_and_holdout[:, None, :2].unbind(3)
    columns, rows = (((2 * torch.arange(side, device=x.device) + 1) / side - 1)[:, None] for side in (width, height))
    return resample(images, (columns * across)[:, None] + (rows * down + shift)[:, :, None])


def recolour(images: Tensor, luma: Tensor, chroma: Tensor, hue: Tensor) -> Tensor:
    """Images float32 [N, C, H, W], their grey part times ``luma``, the rest times ``chroma`` and turned by ``hue``.

    All three are float [N]; hue is in radians, around the axis of greys, where a third of a turn takes red to green.
    Grey images have no chroma.
    """
    if images.shape[1] == 1:
        return images * luma.view(-1, 1, 1, 1)
    same = torch.eye(3, device=images.device)
    grey = torch.full_like(same, 1 / 3)
    # The cross product with the grey axis: a quarter of a turn of what is not grey.
    quarter = (same.roll(1, 0) - same.roll(-1, 0)) / math.sqrt(3)
    luma, chroma, hue = (amount.view(-1, 1, 1) for amount in (luma, chroma, hue))
    matrix = luma * grey + chroma * (hue.cos() * (same - grey) + hue.sin() * quarter)
    return (matrix @ images.flatten(2)).view_as(images)


def _matrices(*rows: Tensor | float) -> Tensor:
    """Matrices [N, 3, 3] whose two upper rows are given entry by entry; the last is 0 0 1."""
    like = next(entry for entry in rows if isinstance(entry, Tensor))
    entries = [entry if isinstance(entry, Tensor) else torch.full_like(like, entry) for entry in (*rows, 0, 0, 1)]
    return torch.stack(entries, 1).view(-1, 3, 3)
