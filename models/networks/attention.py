"""Self-attention between the places of a feature map (Zhang et al. 2019, arXiv:1805.08318, as BigGAN has it)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d


class SelfAttention(nn.Module):
    """Features [N, C, H, W] → the same + γ · what each place gathers from all others. γ starts at 0: the identity.

    Keys and values are taken from 2 × 2 maxima, which makes the table of weights [H W, H W / 4]. H and W are even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner, values = math.ceil(channels / 8), math.ceil(channels / 2)
        self.query = nn.Conv2d(channels, inner, 1, bias=False)
        self.key = nn.Conv2d(channels, inner, 1, bias=False)
        self.value = nn.Conv2d(channels, values, 1, bias=False)
        self.output = nn.Conv2d(values, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """The weights of a place are a softmax over the others of query · key (the paper's equation 1)."""
        query = self.query(features).flatten(2)
        key = max_pool2d(self.key(features), 2).flatten(2)
        value = max_pool2d(self.value(features), 2).flatten(2)
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=2)
        gathered = (value @ weights.transpose(1, 2)).reshape(-1, value.shape[1], *features.shape[2:])
        total: Tensor = features + self.gamma * self.output(gathered)
        return total
