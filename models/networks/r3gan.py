"""R3GAN's networks: a modern ResNet without normalisation or tricks (Huang et al. 2024, arXiv:2501.05441, section 3).

Grouped convolutions in inverted bottlenecks, bilinear resampling, fix-up initialisation, and discriminator and
generator as mirror images. Meant for the relativistic loss with R1 and R2 penalties, and Adam with betas 0 and 0.99.
"""

from itertools import pairwise
from typing import Annotated, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from models.bundle import ImageSpec
from models.networks.conditioning import needed, scaled
from models.networks.resample import Downsample, Upsample
from models.networks.sizes import BASE_RESOLUTION, channel_widths

FAMILY = "r3gan"

SLOPE = 0.2
"""Of leaky ReLU below zero."""

GAIN = (2 / (1 + SLOPE**2)) ** 0.5
"""He's gain of a layer before a leaky ReLU (He et al. 2015, arXiv:1502.01852, equation 15)."""


class R3ganConfig(BaseModel):
    """Sizes of an R3GAN. The paper's networks for CIFAR-10 are 768 wide throughout, with 2 blocks a stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: Literal["r3gan"] = "r3gan"
    noise_dim: Annotated[int, Field(ge=1, le=4096, description="length of the noise vector")] = 64
    width: Annotated[
        int, Field(ge=4, le=1024, description="channels of the largest feature map; each halving doubles them")
    ] = 64
    max_width: Annotated[int, Field(ge=4, le=2048, description="no stage has more channels than this")] = 128
    blocks: Annotated[int, Field(ge=1, le=8, description="residual blocks at each resolution")] = 1
    expansion: Annotated[int, Field(ge=1, le=8, description="a block's inner channels for each outer one")] = 2
    group_width: Annotated[int, Field(ge=1, le=2048, description="channels in a group of the 3 × 3 convolutions")] = 16

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        for name, width in (("width", self.width), ("max_width", self.max_width)):
            if width * self.expansion % self.group_width:
                raise ValueError(
                    f"{name} × expansion must be a multiple of group_width, "
                    f"but {width} × {self.expansion} is none of {self.group_width}"
                )
        return self


class ResidualBlock(nn.Module):
    """Float [N, C, H, W] → the same shape: input plus an inverted bottleneck, which begins as nothing.

    Fix-up initialisation (Zhang et al. 2019, arXiv:1901.09321): the last convolution starts at 0, the two others
    are scaled by ``scale``, which is (number of blocks)^(-1/4), so that a step changes deep networks as little as
    shallow ones.
    """

    def __init__(self, channels: int, config: R3ganConfig, scale: float) -> None:
        super().__init__()
        inner = channels * config.expansion
        groups = inner // config.group_width
        self.branch = nn.Sequential(
            _he(nn.Conv2d(channels, inner, 1), GAIN * scale),
            nn.LeakyReLU(SLOPE),
            _he(nn.Conv2d(inner, inner, 3, padding=1, groups=groups), GAIN * scale),
            nn.LeakyReLU(SLOPE),
            _he(nn.Conv2d(inner, channels, 1, bias=False), 0.0),
        )

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = features + self.branch(features)
        return output


class Generator(nn.Module):
    """Noise float [N, Z], label int64 [N] and truncation float [N] → images float [N, C, H, W].

    Images are meant for -1 … 1 but nothing bounds them, so that the loss has a gradient everywhere: whoever shows
    them clamps them.
    """

    def __init__(self, config: R3ganConfig, image: ImageSpec, labels: int) -> None:
        super().__init__()
        channels = channel_widths(image, FAMILY, config.width, config.max_width)
        scale = _fix_up_scale(config, len(channels))
        self.embedding = nn.Embedding(labels, config.noise_dim) if labels else None
        inputs = config.noise_dim * (2 if labels else 1)
        self.basis = nn.Parameter(torch.randn(1, channels[0], BASE_RESOLUTION, BASE_RESOLUTION))
        self.modulate = _he(nn.Linear(inputs, channels[0], bias=False))
        stages = _blocks(channels[0], config, scale)
        for before, after in pairwise(channels):
            # Channels change where there are fewer pixels.
            stages += [*_transition(before, after), Upsample(), *_blocks(after, config, scale)]
        self.stages = nn.Sequential(*stages)
        self.to_image = _he(nn.Conv2d(channels[-1], image.channels, 1))

    def forward(self, noise: Tensor, label: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        """Images, mostly in -1 … 1; a generator with labels needs them.

        Truncation scales the noise: below 1 the images get more typical and less varied.
        """
        noise = scaled(noise, truncation)
        if self.embedding is not None:
            noise = torch.cat([noise, self.embedding(needed(label, "generator"))], dim=1)
        amplitudes = self.modulate(noise)
        features = self.basis.to(amplitudes.dtype) * amplitudes[:, :, None, None]
        images: Tensor = self.to_image(self.stages(features))
        return images


class Discriminator(nn.Module):
    """Images float [N, C, H, W] and label int64 [N] → logits float [N], high for real."""

    def __init__(self, config: R3ganConfig, image: ImageSpec, labels: int) -> None:
        super().__init__()
        channels = list(reversed(channel_widths(image, FAMILY, config.width, config.max_width)))
        scale = _fix_up_scale(config, len(channels))
        last = channels[-1]
        stages = [_he(nn.Conv2d(image.channels, channels[0], 1)), *_blocks(channels[0], config, scale)]
        for before, after in pairwise(channels):
            stages += [Downsample(before), *_transition(before, after), *_blocks(after, config, scale)]
        self.stages = nn.Sequential(*stages)
        self.basis = _he(nn.Conv2d(last, last, BASE_RESOLUTION, groups=last, bias=False))
        self.to_logit = _he(nn.Linear(last, last if labels else 1, bias=False))
        self.embedding = nn.Embedding(labels, last) if labels else None

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits [N]; a discriminator with labels needs them."""
        logits: Tensor = self.to_logit(self.basis(self.stages(images)).flatten(1))
        if self.embedding is None:
            return logits.squeeze(1)
        # The label's embedding projects the image's (Miyato and Koyama 2018, arXiv:1802.05637, equation 3).
        direction: Tensor = self.embedding(needed(label, "discriminator"))
        return (logits * direction).mean(dim=1) * float(logits.shape[1] ** 0.5)


def _fix_up_scale(config: R3ganConfig, stages: int) -> float:
    # L^(-1 / (2m - 2)) for L branches of m = 3 layers each.
    return float((config.blocks * stages) ** -0.25)


def _blocks(channels: int, config: R3ganConfig, scale: float) -> list[nn.Module]:
    return [ResidualBlock(channels, config, scale) for _ in range(config.blocks)]


def _transition(before: int, after: int) -> list[nn.Module]:
    return [] if before == after else [_he(nn.Conv2d(before, after, 1, bias=False))]


def _he(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Module:
    """Weights from N(0, gain² / fan-in), biases 0."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, 0.0, gain * fan_in**-0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
