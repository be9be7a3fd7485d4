"""Exponential moving averages (EMA) of a generator's weights."""

import copy
import math

import torch
from torch import nn


def ema_copy(generator: nn.Module) -> nn.Module:
    """Returns a copy of a generator, in evaluation mode and without gradients."""
    return copy.deepcopy(generator).eval().requires_grad_(False)


def ema_decay(half_life: float, ramp: float, images_seen: int, batch_size: int) -> float:
    """Returns the share of itself that an EMA keeps over a step of ``batch_size`` images, ending at ``images_seen``.

    The share is ½ after ``half_life`` images. Early in training the half-life is at most ``ramp`` times the images
    seen, so that the EMA soon forgets the first weights (Karras et al. 2020, arXiv:2006.06676). A half-life of 0 keeps
    nothing.
    """
    limited = min(half_life, ramp * images_seen)
    return math.pow(0.5, batch_size / limited) if limited else 0.0


@torch.no_grad()
def update_ema(ema: nn.Module, generator: nn.Module, decay: float) -> None:
    """Moves an EMA towards a generator: ema ← decay · ema + (1 - decay) · generator.

    Buffers such as batch statistics are averaged like weights, so that they fit the averaged weights.
    """
    current = generator.state_dict()
    averaged, targets = [], []
    for name, value in ema.state_dict().items():
        if value.is_floating_point():
            averaged.append(value)
            targets.append(current[name])
        else:
            value.copy_(current[name])
    torch._foreach_lerp_(averaged, targets, 1 - decay)
