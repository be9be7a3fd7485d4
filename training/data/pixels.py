"""The images that networks see, and pixels, into each other.

Without transparency an image is its pixels, scaled to -1 … 1. With it, colours are multiplied by alpha first: filters
then mix what is visible only, a transparent pixel is one point, -1 in all channels, and no edge takes on the colour
that lies below it.
"""

import torch
from torch import Tensor


def to_range(pixels: Tensor) -> Tensor:
    """Maps pixels uint8 [N, C, H, W] to images float [N, C, H, W] in -1 … 1, premultiplied if C is 4."""
    scaled = pixels.float()
    if pixels.shape[1] == 4:
        scaled[:, :3] *= scaled[:, 3:] / 255
    return scaled / 127.5 - 1


def to_pixels(images: Tensor) -> Tensor:
    """Maps images float [N, C, H, W] to pixels uint8 [N, C, H, W], with straight alpha if C is 4.

    Values beyond -1 … 1 are clamped, and colours beyond their alpha. A pixel with alpha 0 is black. Maps what
    ``to_range`` returns to the same pixels, if those with alpha 0 are black.
    """
    scaled = ((images + 1) * 127.5).clamp(0, 255)
    if images.shape[1] != 4:
        return scaled.round().to(torch.uint8)
    # Divides by the alpha that is written, so that over any colour the image looks as the discriminator sees it.
    alpha = scaled[:, 3:].round()
    colour = (scaled[:, :3] * 255 / alpha.clamp(min=1)).clamp(max=255).round()
    return torch.cat((torch.where(alpha > 0, colour, 0), alpha), 1).to(torch.uint8)
