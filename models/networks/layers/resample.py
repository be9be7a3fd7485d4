"""Resampling by two without aliasing: the filter [1, 3, 3, 1], which is bilinear interpolation.

StyleGAN2 takes it from Zhang 2019 (arXiv:1904.11486). R3GAN uses bilinear resampling (arXiv:2501.05441, section 3.3).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.layers.grouped_conv import grouped_conv2d

TAPS = (1.0, 3.0, 3.0, 1.0)


class Blur(nn.Module):
    """Filters every channel: float [N, C, H, W] → float [N, C, H', W'] with H' = H + 2 · padding - 3.

    Pixels beyond the edges count as 0. Away from the edges a constant is multiplied by ``gain``.
    """

    kernel: Tensor

    def __init__(self, channels: int, *, padding: int, gain: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("kernel", _kernel(channels, gain), persistent=False)
        self.padding = padding

    def forward(self, features: Tensor) -> Tensor:
        return grouped_conv2d(features, self.kernel, padding=self.padding, groups=len(self.kernel))


class Downsample(nn.Module):
    """Filters and halves: float [N, C, H, W] → float [N, C, H/2, W/2]. Pixels beyond the edges count as 0."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("kernel", _kernel(channels, 1.0), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        # float32: on CPUs the gradient of a strided depthwise convolution takes ten times as long in bfloat16.
        with torch.autocast(features.device.type, enabled=False):
            output = grouped_conv2d(features.float(), self.kernel, stride=2, padding=1, groups=len(self.kernel))
        return output.to(features.dtype)


class Upsample(nn.Module):
    """Doubles and filters: float [N, C, H, W] → float [N, C, 2H, 2W].

    Edge pixels are repeated outwards, so a constant stays constant everywhere.
    """

    def forward(self, features: Tensor) -> Tensor:
        return functional.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)


def _kernel(channels: int, gain: float) -> Tensor:
    taps = torch.tensor(TAPS) / sum(TAPS)
    return (gain * torch.outer(taps, taps)).repeat(channels, 1, 1, 1)
