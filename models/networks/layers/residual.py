"""Pre-activation residual blocks of SNGAN and BigGAN (Miyato et al. 2018, arXiv:1802.05957, appendix B.4).

The shortcut's 1 × 1 convolution runs at the smaller of the two sizes, where it costs a quarter. The result is the same:
it commutes with nearest upsampling and with average pooling.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu


def upsample_nearest(features: Tensor) -> Tensor:
    """Repeats every pixel of [N, C, H, W] as 2 × 2."""
    return interpolate(features, scale_factor=2, mode="nearest")


class UpBlock(nn.Module):
    """Features [N, C, H, W] and a condition → features [N, C', 2 H, 2 W]."""

    def __init__(self, before: int, after: int, norm: Callable[[int], nn.Module]) -> None:
        """``norm`` maps a number of channels to a normalisation of features and condition."""
        super().__init__()
        self.norm1 = norm(before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.norm2 = norm(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, features: Tensor, condition: Tensor | None) -> Tensor:
        """Passes ``condition`` to the block's normalisations."""
        hidden = self.conv1(upsample_nearest(relu(self.norm1(features, condition))))
        hidden = self.conv2(relu(self.norm2(hidden, condition)))
        output: Tensor = hidden + upsample_nearest(self.shortcut(features))
        return output


class DownBlock(nn.Module):
    """Features [N, C, H, W] → features [N, C', H / 2, W / 2], or [N, C', H, W] if ``halve`` is false."""

    def __init__(self, before: int, after: int, halve: bool, first: bool = False) -> None:
        """``first``: the input is the image, so no ReLU comes first: it would remove all negative pixels."""
        super().__init__()
        self.halve = halve
        self.first = first
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if halve or before != after else None

    def forward(self, features: Tensor) -> Tensor:
        """Adds the residual and the shortcut."""
        hidden = self.conv2(relu(self.conv1(features if self.first else relu(features))))
        if self.halve:
            hidden, features = avg_pool2d(hidden, 2), avg_pool2d(features, 2)
        output: Tensor = hidden + (features if self.shortcut is None else self.shortcut(features))
        return output
