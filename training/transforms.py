"""Geometry and colour as matrices, one per image: what an augmentation does once its amounts are drawn.

A matrix of geometry [N, 3, 3] takes the place of a pixel in the result to the place in the image that it shows, in
pixels from the centre, x to the right and y down. So the product ``first @ second`` transforms by the first, then by
the second.
"""

import math

import torch
from torch import Tensor

from training.resampling import resample


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
    y = torch.arange(height, device=images.device) - (height - 1) / 2
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    centred = torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), 2)
    places = centred.view(-1, 2) @ geometry[:, :2, :2].mT + geometry[:, None, :2, 2]
    size = torch.stack((torch.full_like(x[0], width), torch.full_like(y[0], height)))
    return resample(images, (places * (2 / size)).view(-1, height, width, 2))


def recolour(images: Tensor, luma: Tensor, chroma: Tensor, hue: Tensor) -> Tensor:
    """Images float32 [N, C, H, W], their grey part times ``luma``, the rest times ``chroma`` and turned by ``hue``.

    All three are float [N]; hue is in radians, around the axis of greys, where a third of a turn takes red to green.
    Grey images have no chroma.
    """
    if images.shape[1] == 1:
        return images * luma.view(-1, 1, 1, 1)
    grey = torch.full((3, 3), 1 / 3, device=images.device)
    colour = torch.eye(3, device=images.device) - grey
    # The cross product with the grey axis: a quarter of a turn of what is not grey.
    quarter = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=images.device) / math.sqrt(3)
    luma, chroma, hue = (amount.view(-1, 1, 1) for amount in (luma, chroma, hue))
    matrix = luma * grey + chroma * (hue.cos() * colour + hue.sin() * quarter)
    return (matrix @ images.flatten(2)).view_as(images)


def _matrices(*rows: Tensor | float) -> Tensor:
    """Matrices [N, 3, 3] whose two upper rows are given entry by entry; the last is 0 0 1."""
    like = next(entry for entry in rows if isinstance(entry, Tensor))
    entries = [entry if isinstance(entry, Tensor) else torch.full_like(like, entry) for entry in (*rows, 0, 0, 1)]
    return torch.stack(entries, 1).view(-1, 3, 3)
