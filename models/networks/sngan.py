"""SNGAN: residual networks, with a spectrally normalised discriminator (Miyato et al. 2018, arXiv:1802.05957).

Labels condition the generator's batch normalisations and the discriminator's projection
(Miyato and Koyama 2018, arXiv:1802.05637, section 4).
"""

import math
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu

from models.bundle import ImageSpec
from models.networks.family import FamilyConfig
from models.networks.layers.conditional_norm import ConditionalBatchNorm, UnconditionalBatchNorm
from models.networks.layers.conditioning import ProjectionHead, require_label, truncate_noise
from models.networks.layers.residual import DownBlock, UpBlock
from models.networks.layers.spectral_norm import spectral_normalise
from models.networks.sizes import BASE_RESOLUTION, num_upsamples


class SnganConfig(FamilyConfig):
    """Sizes of an SNGAN. The defaults are those of the paper (appendix B.4, CIFAR-10)."""

    family: Literal["sngan"] = "sngan"
    noise_dim: Annotated[int, Field(ge=1, le=4096, description="length of the noise vector")] = 128
    generator_width: Annotated[
        int,
        Field(
            ge=8,
            le=1024,
            description="channels of the generator's 32 × 32 map; of all maps for smaller images",
        ),
    ] = 256
    discriminator_width: Annotated[int, Field(ge=8, le=1024, description="the same for the discriminator")] = 128


def generator_channels(config: SnganConfig, image: ImageSpec) -> list[int]:
    """Returns the channels of the feature maps of 4 × 4, 8 × 8 … up to the image's size.

    Up to 32 pixels all are equal, as for CIFAR-10. Larger images begin with four times the width and halve it with
    each doubling from 8 × 8 on, as for ImageNet. Raises ``ValueError`` unless the image is square with a side of 8,
    16, 32 … 256.
    """
    sides = [BASE_RESOLUTION * 2**power for power in range(num_upsamples(image, "sngan") + 1)]
    if image.height <= 32:
        return [config.generator_width for _ in sides]
    return [config.generator_width * min(4 * side, 32) // side for side in sides]


def discriminator_blocks(config: SnganConfig, image: ImageSpec) -> list[tuple[int, bool]]:
    """Returns each block's channels, and whether it halves the feature map.

    Up to 32 pixels two blocks halve and two do not, as for CIFAR-10. For larger images every block but the last halves
    the map, down to 4 × 4, and doubles the channels, as for ImageNet. Raises ``ValueError`` as
    ``generator_channels`` does.
    """
    halvings = num_upsamples(image, "sngan")
    if image.height <= 32:
        return [(config.discriminator_width, halve) for halve in (True, True, False, False)]
    channels = [config.discriminator_width * 32 // (image.height >> count) for count in range(1, halvings + 1)]
    return [*((channel, True) for channel in channels), (channels[-1], False)]


class Generator(nn.Module):
    """Noise float [N, Z], label int64 [N] and truncation float [N] → images float [N, C, H, W] in -1 … 1."""

    def __init__(self, config: SnganConfig, image: ImageSpec, num_labels: int) -> None:
        super().__init__()
        channels = generator_channels(config, image)
        self.conditional = num_labels > 0

        def norm(channels: int) -> nn.Module:
            if not num_labels:
                return UnconditionalBatchNorm(channels)
            return ConditionalBatchNorm(
                channels, nn.Embedding(num_labels, channels), nn.Embedding(num_labels, channels)
            )

        self.project = nn.Linear(config.noise_dim, channels[0] * BASE_RESOLUTION * BASE_RESOLUTION)
        self.blocks = nn.ModuleList(UpBlock(before, after, norm) for before, after in pairwise(channels))
        self.norm = nn.BatchNorm2d(channels[-1])
        self.to_image = nn.Conv2d(channels[-1], image.channels, 3, padding=1)
        _initialise(self)

    def forward(self, noise: Tensor, label: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        """Generates images in -1 … 1. A conditional generator needs labels. Truncation scales the noise."""
        condition = require_label(label, "generator") if self.conditional else None
        features = self.project(truncate_noise(noise, truncation)).unflatten(1, (-1, BASE_RESOLUTION, BASE_RESOLUTION))
        for block in self.blocks:
            features = block(features, condition)
        return torch.tanh(self.to_image(relu(self.norm(features))))


class Discriminator(nn.Module):
    """Images float [N, C, H, W] in -1 … 1 and label int64 [N] → logits float [N], high for real."""

    def __init__(self, config: SnganConfig, image: ImageSpec, num_labels: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before: int = image.channels
        for after, halve in discriminator_blocks(config, image):
            blocks.append(DownBlock(before, after, halve, first=not blocks))
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.head = ProjectionHead(before, num_labels)
        _initialise(self)
        spectral_normalise(self)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Returns logits [N]. A conditional discriminator needs labels."""
        features = relu(self.blocks(images)).sum(dim=(2, 3))
        logits: Tensor = self.head(features, label)
        return logits


def _initialise(network: nn.Module) -> None:
    """Draws Glorot's uniform weights, times √2 before a ReLU, as in the authors' code. Scales start at 1.

    Only the two 3 × 3 convolutions of a block count as "before a ReLU".
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, ProjectionHead) and module.embedding is not None:
            nn.init.xavier_uniform_(module.embedding.weight)
        elif isinstance(module, ConditionalBatchNorm):
            for embedding in (module.scale, module.shift):
                assert isinstance(embedding, nn.Embedding)
                nn.init.zeros_(embedding.weight)
    for module in network.modules():
        if isinstance(module, UpBlock | DownBlock):
            nn.init.xavier_uniform_(module.conv1.weight, math.sqrt(2))
            nn.init.xavier_uniform_(module.conv2.weight, math.sqrt(2))
