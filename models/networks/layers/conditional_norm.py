"""Batch normalisation with scale and shift from a condition (de Vries et al. 2017, arXiv:1707.00683)."""

from torch import Tensor, nn


class ConditionalBatchNorm(nn.Module):
    """Features [N, C, H, W] and a condition → normalised features · (1 + scale(condition)) + shift(condition)."""

    def __init__(self, channels: int, scale: nn.Module, shift: nn.Module) -> None:
        """``scale`` and ``shift`` map a condition of N entries to [N, C]."""
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = scale
        self.shift = shift

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """Returns the type of the features, even if the condition's type is wider."""
        scale = (1 + self.scale(condition)).to(features.dtype)[:, :, None, None]
        shift = self.shift(condition).to(features.dtype)[:, :, None, None]
        output: Tensor = self.norm(features) * scale + shift
        return output


class UnconditionalBatchNorm(nn.BatchNorm2d):
    """Batch normalisation that ignores the condition, so that blocks call both kinds alike."""

    def forward(self, features: Tensor, condition: Tensor | None = None) -> Tensor:
        """Normalises with one learnt scale and shift per channel."""
        return super().forward(features)
