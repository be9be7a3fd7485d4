"""BigGAN: SNGAN's residual players, driven by noise at every level (Brock et al. 2019, arXiv:1809.11096, appendix B).

Both players are spectrally normalised, may attend to themselves, and start from orthogonal weights. Without labels the
noise alone drives the generator's batch normalisations.
"""

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import relu

from models.bundle import ImageSpec
from models.networks.attention import SelfAttention
from models.networks.conditional_norm import ConditionalBatchNorm
from models.networks.conditioning import ProjectionHead, needed, scaled
from models.networks.residual import DownBlock, UpBlock
from models.networks.sizes import BASE_RESOLUTION, num_upsamples
from models.networks.spectral_norm import spectral_normalise

GENERATOR_CHANNELS = {
    8: (4, 4),
    16: (4, 4, 4),
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
}
"""Image side → channels, in widths, of the feature maps of 4 × 4, 8 × 8 … up to the image's size."""

DISCRIMINATOR_CHANNELS = {
    8: (4, 4, 4),
    16: (4, 4, 4, 4),
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
}
"""Image side → channels, in widths, of the blocks; see ``halving_blocks``."""


class BigganConfig(BaseModel):
    """Sizes of a BigGAN; the defaults are the authors' for CIFAR-10."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: Literal["biggan"] = "biggan"
    noise_dim: Annotated[
        int, Field(ge=8, le=4096, description="length of the noise vector, shared out to the start and every block")
    ] = 128
    embedding_dim: Annotated[int, Field(ge=1, le=1024, description="length of the labels' shared embedding")] = 128
    width: Annotated[
        int,
        Field(ge=2, le=256, description="channels beside an image of 128 × 128; up to 32 × 32 every layer has 4 times"),
    ] = 64
    attention: Annotated[
        Literal[8, 16, 32, 64, 128] | None,
        Field(description="side of the feature map with self-attention; no effect where there is none of that size"),
    ] = 64


def halving_blocks(side: int) -> int:
    """How many of the discriminator's blocks, the first ones, halve: 2 up to 32 pixels, else all but the last."""
    return 2 if side <= 32 else len(DISCRIMINATOR_CHANNELS[side]) - 1


class Generator(nn.Module):
    """Noise float [N, Z], label int64 [N] and truncation float [N] → images float [N, C, H, W] in -1 … 1."""

    def __init__(self, config: BigganConfig, image: ImageSpec, labels: int) -> None:
        super().__init__()
        stages = num_upsamples(image, "biggan")
        channels = [config.width * factor for factor in GENERATOR_CHANNELS[image.height]]
        # As equal as can be: the authors choose noise_dim so that it divides, which is no reason to ask for it.
        self.chunks = [len(chunk) for chunk in torch.arange(config.noise_dim).tensor_split(stages + 1)]
        self.embedding = nn.Embedding(labels, config.embedding_dim) if labels else None
        self.project = nn.Linear(self.chunks[0], channels[0] * BASE_RESOLUTION * BASE_RESOLUTION)
        self.blocks = nn.ModuleList()
        self.attention = nn.ModuleDict()
        for stage, (before, after) in enumerate(pairwise(channels)):
            inputs = self.chunks[stage + 1] + (config.embedding_dim if labels else 0)

            def norm(channels: int, inputs: int = inputs) -> nn.Module:
                scale, shift = (nn.Linear(inputs, channels, bias=False) for _ in range(2))
                return ConditionalBatchNorm(channels, scale, shift)

            self.blocks.append(UpBlock(before, after, norm))
            if BASE_RESOLUTION * 2 ** (stage + 1) == config.attention:
                self.attention[str(stage)] = SelfAttention(after)
        self.norm = nn.BatchNorm2d(channels[-1])
        self.to_image = nn.Conv2d(channels[-1], image.channels, 3, padding=1)
        self.apply(_initialise)
        spectral_normalise(self, (nn.Conv2d, nn.Linear))

    def forward(self, noise: Tensor, label: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        """Images in -1 … 1; a generator with labels needs them. Truncation scales the noise."""
        first, *others = torch.split(scaled(noise, truncation), self.chunks, dim=1)
        if self.embedding is not None:
            embedded = self.embedding(needed(label, "generator"))
            others = [torch.cat([embedded, chunk], dim=1) for chunk in others]
        features = self.project(first).unflatten(1, (-1, BASE_RESOLUTION, BASE_RESOLUTION))
        for stage, (block, condition) in enumerate(zip(self.blocks, others, strict=True)):
            features = block(features, condition)
            if str(stage) in self.attention:
                features = self.attention[str(stage)](features)
        return torch.tanh(self.to_image(relu(self.norm(features))))


class Discriminator(nn.Module):
    """Images float [N, C, H, W] in -1 … 1 and label int64 [N] → logits float [N], high for real."""

    def __init__(self, config: BigganConfig, image: ImageSpec, labels: int) -> None:
        super().__init__()
        num_upsamples(image, "biggan")
        blocks: list[nn.Module] = []
        before: int = image.channels
        side = image.height
        for index, factor in enumerate(DISCRIMINATOR_CHANNELS[image.height]):
            after, halve = config.width * factor, index < halving_blocks(image.height)
            blocks.append(DownBlock(before, after, halve, first=index == 0))
            before, side = after, side // 2 if halve else side
            if halve and side == config.attention:
                blocks.append(SelfAttention(after))
        self.blocks = nn.Sequential(*blocks)
        self.head = ProjectionHead(before, labels)
        self.apply(_initialise)
        spectral_normalise(self)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits [N]; a discriminator with labels needs them."""
        features = relu(self.blocks(images)).sum(dim=(2, 3))
        logits: Tensor = self.head(features, label)
        return logits


def _initialise(module: nn.Module) -> None:
    """Orthogonal weights (Saxe et al. 2014, arXiv:1312.6120), no biases."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
        nn.init.orthogonal_(module.weight)
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
