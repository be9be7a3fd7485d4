"""Fully connected players, as in the first GANs (Goodfellow et al. 2014, arXiv:1406.2661, section 5).

With leaky ReLU in place of ReLU and maxout, and no dropout. Made conditional as ``dcgan`` is: an embedding of the label
beside the noise, projection in the discriminator.
"""

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from models.bundle import ImageSpec
from models.networks.conditioning import ProjectionHead, needed, scaled

LARGEST_SIDE = 64
SLOPE = 0.2


class MlpConfig(BaseModel):
    """Sizes of a pair of multilayer perceptrons."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: Literal["mlp"] = "mlp"
    noise_dim: Annotated[int, Field(ge=1, le=4096, description="length of the noise vector")] = 64
    width: Annotated[int, Field(ge=4, le=4096, description="units of each hidden layer")] = 512
    depth: Annotated[int, Field(ge=1, le=16, description="hidden layers of each player")] = 3


class Generator(nn.Module):
    """Noise float [N, Z], label int64 [N] and truncation float [N] → images float [N, C, H, W] in -1 … 1."""

    def __init__(self, config: MlpConfig, image: ImageSpec, labels: int) -> None:
        super().__init__()
        self.shape = _checked_shape(image)
        self.embedding = nn.Embedding(labels, config.noise_dim) if labels else None
        inputs = config.noise_dim * (2 if labels else 1)
        self.hidden = _hidden_layers(inputs, config)
        self.to_image = nn.Linear(config.width, image.channels * image.height * image.width)
        self.apply(_initialise)

    def forward(self, noise: Tensor, label: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        """Images in -1 … 1; a generator with labels needs them. Truncation scales the noise."""
        noise = scaled(noise, truncation)
        if self.embedding is not None:
            noise = torch.cat([noise, self.embedding(needed(label, "generator"))], dim=1)
        return torch.tanh(self.to_image(self.hidden(noise))).reshape(-1, *self.shape)


class Discriminator(nn.Module):
    """Images float [N, C, H, W] in -1 … 1 and label int64 [N] → logits float [N], high for real."""

    def __init__(self, config: MlpConfig, image: ImageSpec, labels: int) -> None:
        super().__init__()
        channels, height, width = _checked_shape(image)
        self.hidden = _hidden_layers(channels * height * width, config)
        self.head = ProjectionHead(config.width, labels)
        self.apply(_initialise)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits [N]; a discriminator with labels needs them."""
        logits: Tensor = self.head(self.hidden(images.flatten(1)), label)
        return logits


def _checked_shape(image: ImageSpec) -> tuple[int, int, int]:
    if max(image.height, image.width) > LARGEST_SIDE:
        raise ValueError(
            f"mlp makes images of up to {LARGEST_SIDE} × {LARGEST_SIDE}, not {image.width} × {image.height}"
        )
    return image.channels, image.height, image.width


def _hidden_layers(inputs: int, config: MlpConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise([inputs, *[config.width] * config.depth]):
        layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


def _initialise(module: nn.Module) -> None:
    """He et al. 2015, arXiv:1502.01852, equation 15: leaky ReLU keeps the variance of its input."""
    if isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, SLOPE)
        nn.init.zeros_(module.bias)
