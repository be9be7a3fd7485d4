"""Bilinear resampling that is differentiable twice, for a gradient penalty through an augmentation.

PyTorch's ``grid_sample`` has no second derivative before version 2.13. Resampling is linear in the images, so its
derivative is its adjoint, and the adjoint's derivative is resampling again.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import grid_sample

_BILINEAR, _REFLECTION = 0, 2  # ATen's numbers for the two modes


def resample(images: Tensor, grid: Tensor) -> Tensor:
    """Samples images float [N, C, H, W] at the points ``grid`` [N, H, W, 2], mirrored beyond the edges.

    The grid has the images' type. Points are (x, y), each -1 … 1 from one edge of the image to the opposite one. No
    gradient reaches the grid.
    """
    resampled: Tensor = _Resample.apply(images, grid)  # type: ignore[no-untyped-call]
    return resampled


class _Resample(Function):
    @staticmethod
    def forward(context: Any, images: Tensor, grid: Tensor) -> Tensor:
        context.save_for_backward(grid)
        context.shape = images.shape
        return grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (grid,) = context.saved_tensors
        return _Adjoint.apply(gradients[0], grid, context.shape), None  # type: ignore[no-untyped-call]


class _Adjoint(Function):
    @staticmethod
    def forward(context: Any, gradient: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        context.save_for_backward(grid)
        images = gradient.new_empty(shape)  # ATen reads only its shape
        adjoint: Tensor = torch.ops.aten.grid_sampler_2d_backward(
            gradient, images, grid, _BILINEAR, _REFLECTION, False, [True, False]
        )[0]
        return adjoint

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = context.saved_tensors
        return _Resample.apply(gradients[0], grid), None, None  # type: ignore[no-untyped-call]
