"""Colours of premultiplied images, apart from their alpha: changing colours leaves alpha alone."""

import torch
from torch import Tensor


def split_alpha(images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Splits images float [N, C, H, W] in -1 … 1 into colours and alpha.

    Without alpha (C is 1 or 3) the colours are the images, and alpha is None. Of premultiplied RGBA, alpha is float
    [N, 1, H, W] in 0 … 1, and colours are float [N, 3, H, W]: alpha times the straight colour in -1 … 1. So a linear
    operation acts on them as on opaque images, and one that adds must add alpha times its amount.
    """
    if images.shape[1] != 4:
        return images, None
    alpha = (images[:, 3:] + 1) / 2
    return images[:, :3] + (1 - alpha), alpha


def with_colours(images: Tensor, colours: Tensor) -> Tensor:
    """Returns the images with other colours, as ``split_alpha`` gives them, and the same alpha bit for bit."""
    if images.shape[1] != 4:
        return colours
    alpha = images[:, 3:]
    return torch.cat((colours + (alpha - 1) / 2, alpha), 1)
