"""A grouped convolution whose second derivative is a grouped convolution, too.

PyTorch's own takes one convolution for each group there, even if the weights are constant. A penalty on gradients (R1,
R2) then launches very many small kernels: 1 200 convolutions in a step of the preset ``cifar10``, and 192 with this.

A convolution is linear in its input x and in its weight w. So are the two functions that its derivative consists of,
in each of their arguments, and the derivatives of all three are again these three:

    function              of      derivatives by the first and the second argument
    convolution           x, w    input gradient of (g, w)    weight gradient of (x, g)
    input gradient        y, w    convolution of (g, w)       weight gradient of (g, y)
    weight gradient       x, y    input gradient of (y, g)    convolution of (x, g)

where g is the gradient of the function's result, and x, y and w have the shapes of input, output and weight.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight


def grouped_conv2d(features: Tensor, weight: Tensor, *, groups: int, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolves float [N, C, H, W] with weights [O, C / groups, K, K], as ``functional.conv2d`` does."""
    if not torch.is_grad_enabled():
        return functional.conv2d(features, weight, stride=stride, padding=padding, groups=groups)
    if torch.is_autocast_enabled(features.device.type):
        # The derivatives run outside the autocast block, where two dtypes would not meet.
        dtype = torch.get_autocast_dtype(features.device.type)
        features, weight = features.to(dtype), weight.to(dtype)
    geometry = _Geometry(tuple(features.shape), tuple(weight.shape), stride, padding, groups)
    return _convolution(features, weight, geometry)


@dataclass(frozen=True)
class _Geometry:
    input_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    stride: int
    padding: int
    groups: int

    def convolve(self, features: Tensor, weight: Tensor) -> Tensor:
        return functional.conv2d(features, weight, stride=self.stride, padding=self.padding, groups=self.groups)

    def input_gradient(self, output: Tensor, weight: Tensor) -> Tensor:
        gradient: Tensor = conv2d_input(  # type: ignore[no-untyped-call]
            self.input_shape, weight, output, stride=self.stride, padding=self.padding, groups=self.groups
        )
        return gradient

    def weight_gradient(self, features: Tensor, output: Tensor) -> Tensor:
        gradient: Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
            features, self.weight_shape, output, stride=self.stride, padding=self.padding, groups=self.groups
        )
        return gradient


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
        return _kept(ctx, features, weight, geometry).convolve(features, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        by_features = _input_gradient(gradient, weight, ctx.geometry) if ctx.needs_input_grad[0] else None
        by_weight = _weight_gradient(features, gradient, ctx.geometry) if ctx.needs_input_grad[1] else None
        return by_features, by_weight, None


class _InputGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
        return _kept(ctx, output, weight, geometry).input_gradient(output, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        output, weight = ctx.saved_tensors
        by_output = _convolution(gradient, weight, ctx.geometry) if ctx.needs_input_grad[0] else None
        by_weight = _weight_gradient(gradient, output, ctx.geometry) if ctx.needs_input_grad[1] else None
        return by_output, by_weight, None


class _WeightGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, output: Tensor, geometry: _Geometry) -> Tensor:
        return _kept(ctx, features, output, geometry).weight_gradient(features, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, output = ctx.saved_tensors
        by_features = _input_gradient(output, gradient, ctx.geometry) if ctx.needs_input_grad[0] else None
        by_output = _convolution(features, gradient, ctx.geometry) if ctx.needs_input_grad[1] else None
        return by_features, by_output, None


def _kept(ctx: Any, first: Tensor, second: Tensor, geometry: _Geometry) -> _Geometry:
    """Keeps what the derivative needs, and returns the geometry."""
    ctx.save_for_backward(first, second)
    ctx.geometry = geometry
    return geometry


_convolution: Callable[..., Tensor] = _Convolution.apply
_input_gradient: Callable[..., Tensor] = _InputGradient.apply
_weight_gradient: Callable[..., Tensor] = _WeightGradient.apply


class GroupedConv2d(torch.nn.Conv2d):
    """A ``Conv2d`` with groups, zero padding, no bias or one, and equal strides."""

    def forward(self, features: Tensor) -> Tensor:
        stride, padding = int(self.stride[0]), int(self.padding[0])
        output = grouped_conv2d(features, self.weight, groups=self.groups, stride=stride, padding=padding)
        return output if self.bias is None else output + self.bias.to(output.dtype)[:, None, None]
