"""Functions that build generators, for ``package.module:function``."""

import torch
from torch import nn

from tests.training.packing.generators import Dcgan, LabelEmbedding, StyleGan2, lively


def dcgan() -> nn.Module:
    return Dcgan(width=4)


def labelled() -> nn.Module:
    return lively(LabelEmbedding())


def stylegan2_that_draws() -> nn.Module:
    return lively(StyleGan2(draws=True))


def spectral() -> nn.Module:
    """Spectral normalisation, in both of PyTorch's forms."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.utils.spectral_norm(nn.Linear(24, 64)),
        nn.ReLU(),
        nn.utils.parametrizations.spectral_norm(nn.Linear(64, 192)),
        nn.Tanh(),
        nn.Unflatten(1, (3, 8, 8)),
    )


def number() -> int:
    return 7
