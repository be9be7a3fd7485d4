"""SNGAN: residual players, the discriminator spectrally normalised (Miyato et al. 2018, arXiv:1802.05957).

With labels the generator's batch normalisations and the discriminator's projection are conditional
(Miyato and Koyama 2018, arXiv:1802.05637, section 4).
"""

import math
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import relu

from models.bundle import ImageSpec
from models.networks.conditional_norm import ConditionalBatchNorm, UnconditionalBatchNorm
from models.networks.conditioning import ProjectionHead, needed, scaled
from models.networks.residual import DownBlock, UpBlock
from models.networks.sizes import BASE_RESOLUTION, num_upsamples
from models.networks.spectral_norm import spectral_normalise


class SnganConfig(BaseModel):
    """Sizes of an SNGAN; the defaults are the paper's (appendix B.4, CIFAR-10)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: Literal["sngan"] = "sngan"
    noise_dim: Annotated[int, Field(ge=1, le=4096, description="length of the noise vector")] = 128
    generator_width: Annotated[
        int,
        Field(ge=8, le=1024, description="channels of the generator's feature map of 32 × 32, and of smaller images'"),
    ] = 256
    discriminator_width: Annotated[int, Field(ge=8, le=1024, description="the same of the discriminator")] = 128


def generator_channels(config: SnganConfig, image: ImageSpec) -> list[int]:
    """Channels of the feature maps of 4 × 4, 8 × 8 … up to the image's size.

    Up to 32 pixels all the same, as for CIFAR-10; beyond, four times the width, halved with each doubling from 8 × 8
    on, as for ImageNet. Raises ``ValueError`` unless the image is square with a side of 8, 16, 32 … 256.
    """
    sides = [BASE_RESOLUTION * 2**power for power in range(num_upsamples(image, "sngan") + 1)]
    if image.height <= 32:
        return [config.generator_width for _ in sides]
    return [config.generator_width * min(4 * side, 32) // side for side in sides]


def discriminator_blocks(config: SnganConfig, image: ImageSpec) -> list[tuple[int, bool]]:
    """Each block's channels, and whether it halves the feature map.

    Up to 32 pixels two blocks halve and two do not, as for CIFAR-10; beyond, every block but the last halves, down to
    4 × 4, and doubles the channels, as for ImageNet. Raises ``ValueError`` as ``generator_channels`` does.
    """
    stages = num_upsamples(image, "sngan")
    if image.height <= 32:
        return [(config.discriminator_width, halve) for halve in (True, True, False, False)]
    channels = [config.discriminator_width * 32 // (image.height >> stage) for stage in range(1, stages + 1)]
    return [*((channel, True) for channel in channels), (channels[-1], False)]


class Generator(nn.Module):
    """Noise float [N, Z], label int64 [N] and truncation float [N] → images float [N, C, H, W] in -1 … 1."""

    def __init__(self, config: SnganConfig, image: ImageSpec, labels: int) -> None:
        super().__init__()
        channels = generator_channels(config, image)
        self.conditional = labels > 0

        def norm(channels: int) -> nn.Module:
            if not labels:
                return UnconditionalBatchNorm(channels)
            return ConditionalBatchNorm(channels, nn.Embedding(labels, channels), nn.Embedding(labels, channels))

        self.project = nn.Linear(config.noise_dim, channels[0] * BASE_RESOLUTION * BASE_RESOLUTION)
        self.blocks = nn.ModuleList(UpBlock(before, after, norm) for before, after in pairwise(channels))
        self.norm = nn.BatchNorm2d(channels[-1])
        self.to_image = nn.Conv2d(channels[-1], image.channels, 3, padding=1)
        _initialise(self)

    def forward(self, noise: Tensor, label: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        """Images in -1 … 1; a generator with labels needs them. Truncation scales the noise."""
        condition = needed(label, "generator") if self.conditional else None
        features = self.project(scaled(noise, truncation)).unflatten(1, (-1, BASE_RESOLUTION, BASE_RESOLUTION))
        for block in self.blocks:
            features = block(features, condition)
        return torch.tanh(self.to_image(relu(self.norm(features))))


class Discriminator(nn.Module):
    """Images float [N, C, H, W] in -1 … 1 and label int64 [N] → logits float [N], high for real."""

    def __init__(self, config: SnganConfig, image: ImageSpec, labels: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before: int = image.channels
        for after, halve in discriminator_blocks(config, image):
            blocks.append(DownBlock(before, after, halve, first=not blocks))
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.head = ProjectionHead(before, labels)
        _initialise(self)
        spectral_normalise(self)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits [N]; a discriminator with labels needs them."""
        features = relu(self.blocks(images)).sum(dim=(2, 3))
        logits: Tensor = self.head(features, label)
        return logits


def _initialise(network: nn.Module) -> None:
    """Glorot's uniform weights, √2 times as large before a ReLU, as in the authors' code; scales start at 1.

    Only the two 3 × 3 convolutions of a block count as before a ReLU.
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
