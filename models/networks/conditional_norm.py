"""Batch normalisation whose scale and shift a condition decides (de Vries et al. 2017, arXiv:1707.00683)."""

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
        """The result has the features' type, whatever the type of the condition."""
        scale = (1 + self.scale(condition)).to(features.dtype)[:, :, None, None]
        shift = self.shift(condition).to(features.dtype)[:, :, None, None]
        total: Tensor = self.norm(features) * scale + shift
        return total


class UnconditionalBatchNorm(nn.BatchNorm2d):
    """Takes the condition's place for generators without one, so that a block need not know which it has."""

    def forward(self, features: Tensor, condition: Tensor | None = None) -> Tensor:
        """Batch normalisation with one learnt scale and shift per channel."""
        return super().forward(features)
