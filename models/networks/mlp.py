"""Fully connected networks, as in the first GANs (Goodfellow et al. 2014, arXiv:1406.2661, section 5).

Leaky ReLU replaces ReLU and maxout; there is no dropout. Labels enter as in ``dcgan``: an embedding beside the noise,
projection in the discriminator.
"""

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from models.bundle import ImageSpec
from models.networks.family import FamilyConfig
from models.networks.layers.conditioning import ProjectionHead, require_label, truncate_noise

MAX_SIDE = 64
SLOPE = 0.2
"""Slope of leaky ReLU below zero."""


class MlpConfig(FamilyConfig):
    """Sizes of the two multilayer perceptrons."""

    family: Literal["mlp"] = "mlp"
    noise_dim: Annotated[int, Field(ge=1, le=4096, description="length of the noise vector")] = 64
    width: Annotated[int, Field(ge=4, le=4096, description="units of each hidden layer")] = 512
    depth: Annotated[int, Field(ge=1, le=16, description="hidden layers of each network")] = 3


class Generator(nn.Module):
    """Noise float [N, Z], label int64 [N] and truncation float [N] → images float [N, C, H, W] in -1 … 1."""

    def __init__(self, config: MlpConfig, image: ImageSpec, num_labels: int) -> None:
        super().__init__()
        self.shape = _image_shape(image)
        self.embedding = nn.Embedding(num_labels, config.noise_dim) if num_labels else None
        inputs = config.noise_dim * (2 if num_labels else 1)
        self.hidden = _hidden_layers(inputs, config)
        self.to_image = nn.Linear(config.width, image.channels * image.height * image.width)
        self.apply(_initialise)

    def forward(self, noise: Tensor, label: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        """Generates images in -1 … 1. A conditional generator needs labels. Truncation scales the noise."""
        noise = truncate_noise(noise, truncation)
        if self.embedding is not None:
            noise = torch.cat([noise, self.embedding(require_label(label, "generator"))], dim=1)
        return torch.tanh(self.to_image(self.hidden(noise))).reshape(-1, *self.shape)


class Discriminator(nn.Module):
    """Images float [N, C, H, W] in -1 … 1 and label int64 [N] → logits float [N], high for real."""

    def __init__(self, config: MlpConfig, image: ImageSpec, num_labels: int) -> None:
        super().__init__()
        channels, height, width = _image_shape(image)
        self.hidden = _hidden_layers(channels * height * width, config)
        self.head = ProjectionHead(config.width, num_labels)
        self.apply(_initialise)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Returns logits [N]. A conditional discriminator needs labels."""
        logits: Tensor = self.head(self.hidden(images.flatten(1)), label)
        return logits


def _image_shape(image: ImageSpec) -> tuple[int, int, int]:
    if max(image.height, image.width) > MAX_SIDE:
        raise ValueError(f"mlp generates images of up to {MAX_SIDE} × {MAX_SIDE}, not {image.width} × {image.height}")
    return image.channels, image.height, image.width


def _hidden_layers(inputs: int, config: MlpConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise([inputs, *[config.width] * config.depth]):
        layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


def _initialise(module: nn.Module) -> None:
    """Draws weights for which leaky ReLU keeps its input's variance (He et al. 2015, arXiv:1502.01852, equation 15)."""
    if isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, SLOPE)
        nn.init.zeros_(module.bias)
