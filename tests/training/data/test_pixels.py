"""What networks see and what is written are the same images, with transparency as without."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models.transparency import lay_over
from training.data.pixels import to_pixels, to_range

EVERY = torch.cartesian_prod(torch.arange(256), torch.arange(256)).to(torch.uint8).T.view(1, 2, 256, 256)
"""Every alpha with every colour, uint8 [1, 2, 256, 256]."""
RGBA = torch.cat((EVERY[:, 1:].expand(-1, 3, -1, -1), EVERY[:, :1]), 1)


def rgba(red: float, green: float, blue: float, alpha: float) -> Tensor:
    return torch.tensor([red, green, blue, alpha]).view(1, 4, 1, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_without_transparency_pixels_are_only_scaled(channels: int) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, channels, -1, -1)
    images = to_range(pixels)
    assert torch.equal(images, pixels.float() / 127.5 - 1), "bit for bit as always"
    assert torch.equal(to_pixels(images), pixels)


def test_every_visible_pixel_comes_back_exactly() -> None:
    expected = RGBA.clone()
    expected[:, :3] *= expected[:, 3:] > 0
    assert torch.equal(to_pixels(to_range(RGBA)), expected)


def test_networks_see_premultiplied_colours() -> None:
    share = RGBA[:, 3:].double() / 255
    expected = 2 * RGBA[:, :3].double() / 255 * share - 1
    torch.testing.assert_close(to_range(RGBA)[:, :3].double(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(to_range(RGBA)[:, 3:].double(), 2 * share - 1, atol=1e-6, rtol=0)
    assert (to_range(RGBA)[:, :, 0] == -1).all(), "a transparent pixel is one point, whatever its colour"


def test_the_memory_layout_stays_channels_last() -> None:
    """Else every convolution would convert it."""
    pixels = RGBA.contiguous(memory_format=torch.channels_last)
    assert to_range(pixels).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(pixels, RGBA), "and the pixels are not changed in place"


@pytest.mark.parametrize("seed", range(3))
def test_over_any_colour_the_written_image_is_what_the_discriminator_saw(seed: int) -> None:
    """Within the rounding of one 8-bit colour and one 8-bit alpha, also where an edge is nearly transparent."""
    generator = torch.Generator().manual_seed(seed)
    alpha = torch.rand(1, 1, 64, 64, generator=generator).pow(3)
    colour = torch.rand(1, 3, 64, 64, generator=generator) * alpha
    images = torch.cat((colour, alpha), 1) * 2 - 1
    pixels = to_pixels(images).permute(0, 2, 3, 1).numpy()
    for level in (0, 128, 255):
        wanted = 255 * colour + level * (1 - alpha)
        laid = lay_over(pixels, (level, level, level)).astype(np.float32)
        assert np.abs(laid - wanted.permute(0, 2, 3, 1).numpy()).max() <= 1.51


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (rgba(-1, -1, -1, -1), [0, 0, 0, 0]),
        (rgba(1, 0, 1, -1), [0, 0, 0, 0]),
        (rgba(5, -7, 9, -3), [0, 0, 0, 0]),
        (rgba(5, -7, 1, 3), [255, 0, 255, 255]),
        (rgba(1, 0, -1, 0), [255, 254, 0, 128]),
        (rgba(-0.99, -1, -1, -0.993), [255, 0, 0, 1]),
    ],
)
def test_what_a_generator_may_not_draw_becomes_a_pixel_too(image: Tensor, pixel: list[int]) -> None:
    """Linear outputs go beyond -1 … 1, and nothing keeps a colour below its alpha. Nothing divides by 0."""
    assert to_pixels(image).flatten().tolist() == pixel
