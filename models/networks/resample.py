"""Resampling by two without aliasing: the filter [1, 3, 3, 1], which is bilinear interpolation.

StyleGAN2 takes it from Zhang 2019 (arXiv:1904.11486); R3GAN asks for bilinear resampling (arXiv:2501.05441,
section 3.3).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

TAPS = (1.0, 3.0, 3.0, 1.0)


class Filter(nn.Module):
    """float [N, C, H, W] → every channel filtered, beyond whose edges all is 0: float [N, C, H', W'].

    H' = (H + 2 · padding - 4) / stride + 1. A constant becomes ``gain`` times itself, but near padded edges.
    """

    kernel: Tensor

    def __init__(self, channels: int, *, padding: int, stride: int = 1, gain: float = 1.0) -> None:
        super().__init__()
        taps = torch.tensor(TAPS) / sum(TAPS)
        kernel = gain * torch.outer(taps, taps).expand(channels, 1, -1, -1)
        self.register_buffer("kernel", kernel.contiguous(), persistent=False)
        self.padding, self.stride = padding, stride

    def forward(self, features: Tensor) -> Tensor:
        return functional.conv2d(features, self.kernel, None, self.stride, self.padding, groups=len(self.kernel))


def halve(channels: int) -> Filter:
    """Features float [N, C, H, W] → float [N, C, H/2, W/2], for so many channels."""
    return Filter(channels, padding=1, stride=2)


def double(features: Tensor) -> Tensor:
    """Features float [N, C, H, W] → float [N, C, 2H, 2W].

    Edges go on as they end, so that a constant stays itself everywhere.
    """
    return functional.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
