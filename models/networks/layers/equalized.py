"""Layers with an equalised learning rate (Karras et al. 2018, arXiv:1710.10196, section 4.1).

Weights are drawn from N(0, 1) and scaled by He's constant at every use. Adam's steps do not depend on the scale of a
gradient. So all layers learn at the same relative speed, whatever their fan-in.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
"""Slope of leaky ReLU below zero."""

GAIN = math.sqrt(2)
"""Gain of a layer before a leaky ReLU. It restores the variance that the activation removes.

StyleGAN's code multiplies after the activation. Leaky ReLU commutes with positive factors, so here the gain is part of
the weight's scale and costs nothing.
"""


class EqualizedLinear(nn.Module):
    """Float [N, inputs] → float [N, outputs], times ``gain``. ``learning_rate`` multiplies the optimiser's rate."""

    def __init__(
        self, inputs: int, outputs: int, *, gain: float = 1.0, learning_rate: float = 1.0, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / learning_rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / learning_rate))
        self.weight_scale = gain * learning_rate / math.sqrt(inputs)
        self.bias_scale = gain * learning_rate

    def forward(self, features: Tensor) -> Tensor:
        return functional.linear(features, self.weight * self.weight_scale, self.bias * self.bias_scale)


class EqualizedConv2d(nn.Module):
    """Float [N, inputs, H, W] → float [N, outputs, H', W'], times ``gain``."""

    def __init__(
        self, inputs: int, outputs: int, size: int, *, gain: float = 1.0, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.weight_scale = gain / math.sqrt(inputs * size**2)
        self.bias_scale = gain
        self.stride, self.padding = stride, padding

    def forward(self, features: Tensor) -> Tensor:
        weight, bias = self.weight * self.weight_scale, self.bias * self.bias_scale
        return functional.conv2d(features, weight, bias, self.stride, self.padding)


def unit_second_moment(vectors: Tensor) -> Tensor:
    """Rescales vectors float [N, Z] to a mean square of 1 (Karras et al. 2018, section 4.2)."""
    return vectors * (vectors.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
