"""Augmentations of real and generated images, which stop a discriminator from memorising a small data set.

All map images float [N, C, H, W] in -1 … 1, C = 1, 3, or 4 for premultiplied RGBA, to images of the same shape, not
clamped. They are differentiable twice. Geometry treats alpha as one more channel; changes of colour leave it alone.
Random numbers come from ``BatchRng``, one set per image.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from training.augment.alpha import split_alpha, with_colours
from training.augment.transforms import mirror, recolour, rotation, scaling, translation, warp
from training.parallel.rng import BatchRng

_MIN_VISIBLE = 1 / 8
"""Least share of an image by which its colours are averaged: a generator may draw colours without any alpha."""

Policy = Literal["color", "translation", "cutout"]


def flip(images: Tensor, rng: BatchRng) -> Tensor:
    """Mirrors each image left to right with probability ½."""
    mirrored = rng.uniform(len(images), 1, 1, 1) < 0.5
    return torch.where(mirrored, images.flip(3), images)


def diff_augment(images: Tensor, policies: Sequence[Policy], rng: BatchRng) -> Tensor:
    """Applies the named policies in turn, each to every image (DiffAugment, Zhao et al. 2020, arXiv:2006.10738).

    ``color`` changes brightness, saturation (of colour images) and contrast. ``translation`` shifts by up to an eighth
    of each side. ``cutout`` blanks a square of half the side, which may extend beyond the image. Pixels that are
    shifted in or blanked become 0, a medium grey; in RGBA they become transparent, -1 in all channels.
    """
    apply = {"color": _color, "translation": _translation, "cutout": _cutout}
    for policy in policies:
        images = apply[policy](images, rng)
    return images


def adaptive_augment(images: Tensor, probability: Tensor | float, rng: BatchRng) -> Tensor:
    """Applies each of ADA's pixel blits, geometric and colour transformations with a probability, 0 … 1, per image.

    This is the "bgc" pipeline of Karras et al. 2020, arXiv:2006.06676, appendix B, with its order and distributions.
    It resamples bilinearly instead of with the paper's filter, at a fraction of the cost. Probability 0 returns the
    images bit for bit. Computes in float32 even under autocast.
    """
    with torch.autocast(images.device.type, enabled=False):
        return _adaptive_colour(_adaptive_geometry(images.float(), probability, rng), probability, rng)


def _adaptive_geometry(images: Tensor, probability: Tensor | float, rng: BatchRng) -> Tensor:
    count, _, height, width = images.shape
    uniform = rng.uniform(count, 8)
    # Rotations before and after stretching have together the probability of any other transformation.
    chosen = torch.cat((uniform[:, :6] < probability, uniform[:, 6:] < 1 - (1 - probability) ** 0.5), 1)
    # Multiplying by 0 turns every transformation off.
    flips, turns, shifts, scales, stretches, moves, before, after = chosen.float().unbind(1)
    flip, turn, shift_x, shift_y, angle_before, angle_after = rng.uniform(count, 6).unbind(1)
    scale, stretch, move_x, move_y = rng.normal(count, 4).unbind(1)
    larger, wider = (scales * 0.2 * scale).exp2(), (stretches * 0.2 * stretch).exp2()
    geometry = (
        mirror(flips * (2 * flip).floor())
        @ rotation(turns * (4 * turn).floor() * (math.pi / 2))
        @ translation(shifts * ((shift_x - 0.5) * width / 4).round(), shifts * ((shift_y - 0.5) * height / 4).round())
        @ scaling(larger, larger)
        @ rotation(before * (2 * angle_before - 1) * math.pi)
        @ scaling(wider, 1 / wider)
        @ rotation(after * (2 * angle_after - 1) * math.pi)
        @ translation(moves * move_x * width / 8, moves * move_y * height / 8)
    )
    return _where_any(chosen, warp(images, geometry), images)


def _adaptive_colour(images: Tensor, probability: Tensor | float, rng: BatchRng) -> Tensor:
    count = len(images)
    chosen = rng.uniform(count, 5) < probability
    brightens, contrasts, inverts, turns, saturates = chosen.float().unbind(1)
    invert, turn = rng.uniform(count, 2).unbind(1)
    brightness, contrast, saturation = rng.normal(count, 3).unbind(1)
    strength = (contrasts * 0.5 * contrast).exp2()
    luma = strength * (1 - 2 * inverts * (2 * invert).floor())
    chroma = strength * (saturates * saturation).exp2()
    colours, alpha = split_alpha(images)
    brightened = colours + _under(alpha, (brightens * 0.2 * brightness).view(-1, 1, 1, 1))
    recoloured = recolour(brightened, luma, chroma, turns * (2 * turn - 1) * math.pi)
    return _where_any(chosen, with_colours(images, recoloured), images)


def _where_any(chosen: Tensor, changed: Tensor, unchanged: Tensor) -> Tensor:
    """Selects changed images where any transformation was chosen, bool [N, …]; the others stay the same bit for bit."""
    return torch.where(chosen.any(1).view(-1, 1, 1, 1), changed, unchanged)


def _color(images: Tensor, rng: BatchRng) -> Tensor:
    brightness, saturation, contrast = rng.uniform(len(images), 3, 1, 1, 1).unbind(1)
    colours, alpha = split_alpha(images)
    colours = colours + _under(alpha, brightness - 0.5)
    if colours.shape[1] > 1:
        grey = colours.mean(1, keepdim=True)
        colours = torch.lerp(grey, colours, 2 * saturation)
    mean = colours.mean((1, 2, 3), keepdim=True)
    if alpha is not None:
        mean = mean / alpha.clamp(min=0).mean((1, 2, 3), keepdim=True).clamp(min=_MIN_VISIBLE)
    return with_colours(images, torch.lerp(_under(alpha, mean), colours, contrast + 0.5))


def _under(alpha: Tensor | None, amount: Tensor) -> Tensor:
    """Returns an amount to add to colours, premultiplied if they are."""
    return amount if alpha is None else amount * alpha


def _translation(images: Tensor, rng: BatchRng) -> Tensor:
    count, channels, height, width = images.shape
    uniform = rng.uniform(count, 2)
    rows = torch.arange(height, device=images.device) - _whole_shift(uniform[:, :1], height)
    columns = torch.arange(width, device=images.device) - _whole_shift(uniform[:, 1:], width)
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    sources = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None]
    shifted = images.flatten(2).gather(2, sources.flatten(1)[:, None].expand(-1, channels, -1))
    return _blank(shifted.view_as(images), ~inside[:, None])


def _whole_shift(uniform: Tensor, side: int) -> Tensor:
    """Returns whole pixels int64, uniform over -side/8 … side/8."""
    limit = _rounded(side / 8)
    return (uniform * (2 * limit + 1)).long() - limit


def _cutout(images: Tensor, rng: BatchRng) -> Tensor:
    uniform = rng.uniform(len(images), 2)
    covered = [_covered(uniform[:, axis : axis + 1], side) for axis, side in enumerate(images.shape[2:])]
    hole = covered[0][:, :, None] & covered[1][:, None]
    return _blank(images, hole[:, None])


def _blank(images: Tensor, where: Tensor) -> Tensor:
    """Returns images without the pixels bool [N, 1, H, W]: a medium grey, or nothing at all if images have alpha."""
    return torch.where(where, -1.0, images) if images.shape[1] == 4 else images * ~where


def _covered(uniform: Tensor, side: int) -> Tensor:
    """Returns which pixels bool [N, side] an interval of half the side covers; its centre is uniform over the image."""
    length = _rounded(side / 2)
    # An interval of even length is centred between two pixels, so it has one more position.
    start = (uniform * (side + 1 - length % 2)).long() - length // 2
    pixels = torch.arange(side, device=uniform.device)
    return (pixels >= start) & (pixels < start + length)


def _rounded(pixels: float) -> int:
    """Rounds to the nearest whole pixel, and halves up: Python's ``round`` would round them to even."""
    return math.floor(pixels + 0.5)
