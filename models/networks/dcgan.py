"""DCGAN: strided convolutions and batch normalisation (Radford et al. 2016, arXiv:1511.06434).

With labels, the generator gets an embedding of the label beside the noise (Mirza and Osindero 2014, arXiv:1411.1784).
The discriminator adds the embedding's inner product with the image's features (projection: Miyato and Koyama 2018,
arXiv:1802.05637, equation 3). These are the two cheapest ways.
"""

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from models.bundle import ImageSpec
from models.networks.family import FamilyConfig
from models.networks.layers.conditioning import ProjectionHead, require_label, truncate_noise
from models.networks.layers.resize_conv import make_resize_convs
from models.networks.layers.spectral_norm import spectral_normalise
from models.networks.sizes import BASE_RESOLUTION, num_upsamples


class DcganConfig(FamilyConfig):
    """Sizes of a DCGAN."""

    family: Literal["dcgan"] = "dcgan"
    noise_dim: Annotated[int, Field(ge=1, le=4096, description="length of the noise vector")] = 64
    width: Annotated[
        int, Field(ge=4, le=512, description="channels at half the image's size; each halving doubles them")
    ] = 64
    max_width: Annotated[int, Field(ge=4, le=2048, description="no layer has more channels than this")] = 512
    upsampling: Annotated[
        Literal["transposed", "nearest"],
        Field(
            description="how the generator doubles sides: by free 4 × 4 kernels, as in the paper, or to the nearest "
            "neighbour and then by 3 × 3, which takes the same time and draws no checkerboards"
        ),
    ] = "transposed"
    full_size_width: Annotated[
        int,
        Field(
            ge=0,
            le=512,
            description="channels of one more layer of the generator, at the image's size; 0: none, as in the paper",
        ),
    ] = 0
    discriminator_norm: Annotated[
        Literal["batch", "spectral", "none"],
        Field(description="normalisation of its convolutions; batch excludes a gradient penalty on single images"),
    ] = "batch"


def hidden_channels(config: DcganConfig, image: ImageSpec) -> list[int]:
    """Returns the channels of the feature maps from 4 × 4 up to half the image's size.

    Raises ``ValueError`` unless the image is square with a side of 8, 16, 32 … 256.
    """
    upsamples = num_upsamples(image, "dcgan")
    return [min(config.width * 2**power, config.max_width) for power in reversed(range(upsamples))]


class Generator(nn.Module):
    """Noise float [N, Z], label int64 [N] and truncation float [N] → images float [N, C, H, W] in -1 … 1."""

    def __init__(self, config: DcganConfig, image: ImageSpec, num_labels: int) -> None:
        super().__init__()
        channels = hidden_channels(config, image)
        if config.full_size_width:
            channels.append(config.full_size_width)
        self.embedding = nn.Embedding(num_labels, config.noise_dim) if num_labels else None
        inputs = config.noise_dim * (2 if num_labels else 1)
        self.project = nn.Linear(inputs, channels[0] * BASE_RESOLUTION * BASE_RESOLUTION, bias=False)
        self.project_norm = nn.BatchNorm2d(channels[0])
        stages: list[nn.Module] = []
        for before, after in pairwise(channels):
            stages += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.stages = nn.Sequential(*stages)
        self.to_image = (
            nn.Conv2d(channels[-1], image.channels, 3, padding=1)
            if config.full_size_width
            else nn.ConvTranspose2d(channels[-1], image.channels, 4, stride=2, padding=1)
        )
        self.apply(_initialise)
        if config.upsampling == "nearest":
            make_resize_convs(self)

    def forward(self, noise: Tensor, label: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        """Generates images in -1 … 1. A conditional generator needs labels. Truncation scales the noise."""
        noise = truncate_noise(noise, truncation)
        if self.embedding is not None:
            noise = torch.cat([noise, self.embedding(require_label(label, "generator"))], dim=1)
        features = self.project(noise).unflatten(1, (-1, BASE_RESOLUTION, BASE_RESOLUTION))
        features = torch.relu(self.project_norm(features))
        return torch.tanh(self.to_image(self.stages(features)))


class Discriminator(nn.Module):
    """Images float [N, C, H, W] in -1 … 1 and label int64 [N] → logits float [N], high for real."""

    def __init__(self, config: DcganConfig, image: ImageSpec, num_labels: int) -> None:
        super().__init__()
        channels = list(reversed(hidden_channels(config, image)))
        batch_norm = config.discriminator_norm == "batch"
        stages: list[nn.Module] = [
            nn.Conv2d(image.channels, channels[0], 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        for before, after in pairwise(channels):
            stages.append(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=not batch_norm))
            if batch_norm:
                stages.append(nn.BatchNorm2d(after))
            stages.append(nn.LeakyReLU(0.2))
        self.stages = nn.Sequential(*stages, nn.Flatten())
        self.head = ProjectionHead(channels[-1] * BASE_RESOLUTION * BASE_RESOLUTION, num_labels)
        self.apply(_initialise)
        if config.discriminator_norm == "spectral":
            spectral_normalise(self)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Returns logits [N]. A conditional discriminator needs labels."""
        logits: Tensor = self.head(self.stages(images), label)
        return logits


def _initialise(module: nn.Module) -> None:
    """Draws weights from N(0, 0.02) and batch-norm scales from N(1, 0.02) (the paper's section 4)."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
