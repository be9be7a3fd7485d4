"""Resampling equals an explicit sum with the filter [1, 3, 3, 1], and keeps constants."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.networks.layers.resample import Blur, Downsample, Upsample

WEIGHTS = np.array([1, 3, 3, 1]) / 8


def filtered(pixels: NDArray[np.float64], padding: int) -> NDArray[np.float64]:
    """One channel [H, W]: every window of 4 × 4, weighted and summed."""
    padded = np.pad(pixels, padding)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (4, 4))
    return np.einsum("yxij,i,j->yx", windows, WEIGHTS, WEIGHTS)


def by_channel(features: torch.Tensor) -> list[NDArray[np.float64]]:
    return [channel.double().numpy() for image in features for channel in image]


@pytest.mark.parametrize(("padding", "gain"), [(1, 4.0), (2, 1.0)])
def test_blur(padding: int, gain: float) -> None:
    features = torch.randn(2, 3, 6, 5)
    blurred = by_channel(Blur(3, padding=padding, gain=gain)(features))
    for pixels, result in zip(by_channel(features), blurred, strict=True):
        np.testing.assert_allclose(result, gain * filtered(pixels, padding), atol=1e-5)


def test_downsampling_keeps_every_second_pixel_of_the_blurred() -> None:
    features = torch.randn(2, 3, 8, 6)
    for pixels, result in zip(by_channel(features), by_channel(Downsample(3)(features)), strict=True):
        np.testing.assert_allclose(result, filtered(pixels, 1)[::2, ::2], atol=1e-5)


def test_upsampling_inserts_zeros_and_blurs() -> None:
    features = torch.randn(2, 3, 5, 4)
    for pixels, result in zip(by_channel(features), by_channel(Upsample()(features)), strict=True):
        edged = np.pad(pixels, 1, mode="edge")
        spread = np.zeros((14, 12))
        spread[::2, ::2] = edged
        np.testing.assert_allclose(result, 4 * filtered(spread, 2)[2:-3, 2:-3], atol=1e-5)


def test_a_constant_stays_constant() -> None:
    constant = torch.full((1, 2, 8, 8), 0.7)
    torch.testing.assert_close(Upsample()(constant), torch.full((1, 2, 16, 16), 0.7))
    torch.testing.assert_close(Downsample(2)(constant)[..., 1:-1, 1:-1], torch.full((1, 2, 2, 2), 0.7))
    torch.testing.assert_close(Blur(2, padding=0)(constant), torch.full((1, 2, 5, 5), 0.7))


def test_downsampling_bfloat16_gives_bfloat16() -> None:
    """Computing in float32 inside must not turn later layers into float32, which is slow."""
    features = torch.randn(1, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        output = Downsample(2)(features.bfloat16())
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), Downsample(2)(features), atol=0.02, rtol=0.02)
