"""R3GAN: a ResNet without normalisation or tricks (Huang et al. 2024, arXiv:2501.05441, section 3).

Grouped convolutions in inverted bottlenecks, bilinear resampling, and fix-up initialisation. The discriminator mirrors
the generator. Designed for the relativistic loss with R1 and R2 penalties, and for Adam with betas 0 and 0.99.

Under autocast the 4 × 4 stages stay in float32, as in the authors' code, and so do the noise's and the labels' layers.
"""

from itertools import pairwise
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from models.bundle import ImageSpec
from models.networks.family import FamilyConfig
from models.networks.layers.conditioning import require_label, truncate_noise
from models.networks.layers.full_precision import MixedSequential, full_precision
from models.networks.layers.grouped_conv import GroupedConv2d
from models.networks.layers.resample import Downsample, Upsample
from models.networks.sizes import BASE_RESOLUTION, channel_widths

FAMILY = "r3gan"

SLOPE = 0.2
"""Slope of leaky ReLU below zero."""

GAIN = (2 / (1 + SLOPE**2)) ** 0.5
"""He's gain for a layer before a leaky ReLU (He et al. 2015, arXiv:1502.01852, equation 15)."""


class R3ganConfig(FamilyConfig):
    """Sizes of an R3GAN. The paper's networks for CIFAR-10 are 768 wide throughout, with 2 blocks per stage."""

    family: Literal["r3gan"] = "r3gan"
    noise_dim: Annotated[int, Field(ge=1, le=4096, description="length of the noise vector")] = 64
    width: Annotated[
        int, Field(ge=4, le=1024, description="channels of the largest feature map; each halving doubles them")
    ] = 64
    max_width: Annotated[int, Field(ge=4, le=2048, description="no stage has more channels than this")] = 128
    blocks: Annotated[int, Field(ge=1, le=8, description="residual blocks at each resolution")] = 1
    expansion: Annotated[int, Field(ge=1, le=8, description="inner channels of a block per outer channel")] = 2
    group_width: Annotated[int, Field(ge=1, le=2048, description="channels in a group of the 3 × 3 convolutions")] = 16

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        for name, width in (("width", self.width), ("max_width", self.max_width)):
            if width * self.expansion % self.group_width:
                raise ValueError(
                    f"{name} × expansion must be a multiple of group_width, "
                    f"but {width} × {self.expansion} is not a multiple of {self.group_width}"
                )
        return self


class ResidualBlock(nn.Module):
    """Adds an inverted bottleneck to float [N, C, H, W]. The block starts as the identity.

    Fix-up initialisation (Zhang et al. 2019, arXiv:1901.09321): the last convolution starts at 0. The two others are
    scaled by ``scale``, which is (number of blocks)^(-1/4). So a step changes deep networks as little as shallow ones.
    """

    def __init__(self, channels: int, config: R3ganConfig, scale: float) -> None:
        super().__init__()
        inner = channels * config.expansion
        groups = inner // config.group_width
        self.branch = nn.Sequential(
            _he_initialised(nn.Conv2d(channels, inner, 1), GAIN * scale),
            nn.LeakyReLU(SLOPE),
            _he_initialised(GroupedConv2d(inner, inner, 3, padding=1, groups=groups), GAIN * scale),
            nn.LeakyReLU(SLOPE),
            _he_initialised(nn.Conv2d(inner, channels, 1, bias=False), 0.0),
        )

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = features + self.branch(features)
        return output


class Generator(nn.Module):
    """Noise float [N, Z], label int64 [N] and truncation float [N] → images float [N, C, H, W].

    Pixels are mostly in -1 … 1, but nothing bounds them, so that the loss has a gradient everywhere. Clamp them for
    display.
    """

    def __init__(self, config: R3ganConfig, image: ImageSpec, num_labels: int) -> None:
        super().__init__()
        channels = channel_widths(image, FAMILY, config.width, config.max_width)
        scale = _fix_up_scale(config, len(channels))
        self.embedding = nn.Embedding(num_labels, config.noise_dim) if num_labels else None
        inputs = config.noise_dim * (2 if num_labels else 1)
        self.basis = nn.Parameter(torch.randn(1, channels[0], BASE_RESOLUTION, BASE_RESOLUTION))
        self.modulate = _he_initialised(nn.Linear(inputs, channels[0], bias=False))
        stages = _blocks(channels[0], config, scale)
        for before, after in pairwise(channels):
            # Change the channels before upsampling: there are fewer pixels, so it is cheaper.
            stages += [*_transition(before, after), Upsample(), *_blocks(after, config, scale)]
        self.stages = MixedSequential(*stages, float32=range(config.blocks))
        self.to_image = _he_initialised(nn.Conv2d(channels[-1], image.channels, 1))

    def forward(self, noise: Tensor, label: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        """Generates images, mostly in -1 … 1. A conditional generator needs labels. Truncation scales the noise."""
        noise = truncate_noise(noise, truncation)
        if self.embedding is not None:
            noise = torch.cat([noise, self.embedding(require_label(label, "generator"))], dim=1)
        with full_precision(noise):
            features = self.basis * self.modulate(noise)[:, :, None, None]
        images: Tensor = self.to_image(self.stages(features))
        return images


class Discriminator(nn.Module):
    """Images float [N, C, H, W] and label int64 [N] → logits float [N], high for real."""

    def __init__(self, config: R3ganConfig, image: ImageSpec, num_labels: int) -> None:
        super().__init__()
        channels = list(reversed(channel_widths(image, FAMILY, config.width, config.max_width)))
        scale = _fix_up_scale(config, len(channels))
        last = channels[-1]
        stages = [_he_initialised(nn.Conv2d(image.channels, channels[0], 1)), *_blocks(channels[0], config, scale)]
        for before, after in pairwise(channels):
            stages += [Downsample(before), *_transition(before, after), *_blocks(after, config, scale)]
        self.stages = MixedSequential(*stages, float32=range(len(stages) - config.blocks, len(stages)))
        self.basis = _he_initialised(GroupedConv2d(last, last, BASE_RESOLUTION, groups=last, bias=False))
        self.to_logit = _he_initialised(nn.Linear(last, last if num_labels else 1, bias=False))
        self.embedding = nn.Embedding(num_labels, last) if num_labels else None

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Returns logits [N]. A conditional discriminator needs labels."""
        features = self.stages(images)
        with full_precision(features):
            logits: Tensor = self.to_logit(self.basis(features).flatten(1))
        if self.embedding is None:
            return logits.squeeze(1)
        # Projection: the inner product with the label's embedding (Miyato and Koyama 2018, arXiv:1802.05637, eq. 3).
        direction: Tensor = self.embedding(require_label(label, "discriminator"))
        return (logits * direction).mean(dim=1) * float(logits.shape[1] ** 0.5)


def _fix_up_scale(config: R3ganConfig, stages: int) -> float:
    # L^(-1 / (2m - 2)) for L branches of m = 3 layers each.
    return float((config.blocks * stages) ** -0.25)


def _blocks(channels: int, config: R3ganConfig, scale: float) -> list[nn.Module]:
    return [ResidualBlock(channels, config, scale) for _ in range(config.blocks)]


def _transition(before: int, after: int) -> list[nn.Module]:
    return [] if before == after else [_he_initialised(nn.Conv2d(before, after, 1, bias=False))]


def _he_initialised(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Module:
    """Draws weights from N(0, gain² / fan-in) and sets biases to 0."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, 0.0, gain * fan_in**-0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
