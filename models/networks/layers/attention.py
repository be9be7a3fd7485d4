"""Self-attention between the pixels of a feature map (Zhang et al. 2019, arXiv:1805.08318), in BigGAN's variant."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d


class SelfAttention(nn.Module):
    """Features [N, C, H, W] → features + γ · attention(features). γ starts at 0, so the layer starts as the identity.

    Keys and values come from 2 × 2 maxima, so the attention weights are [H W, H W / 4]. H and W must be even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        key_channels, value_channels = math.ceil(channels / 8), math.ceil(channels / 2)
        self.query = nn.Conv2d(channels, key_channels, 1, bias=False)
        self.key = nn.Conv2d(channels, key_channels, 1, bias=False)
        self.value = nn.Conv2d(channels, value_channels, 1, bias=False)
        self.output = nn.Conv2d(value_channels, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Weights each pixel's values by a softmax of query · key over all pixels (the paper's equation 1)."""
        query = self.query(features).flatten(2)
        key = max_pool2d(self.key(features), 2).flatten(2)
        value = max_pool2d(self.value(features), 2).flatten(2)
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=2)
        attended = (value @ weights.transpose(1, 2)).reshape(-1, value.shape[1], *features.shape[2:])
        output: Tensor = features + self.gamma * self.output(attended)
        return output
