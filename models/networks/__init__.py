"""The network families, one file each, and the registry that builds them from their configuration.

Every generator maps noise float [N, Z], label int64 [N] or None, and truncation float [N] or None to images float
[N, C, H, W] in -1 … 1, or beyond where its output is linear; every discriminator maps images and label to logits
float [N], high for real.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from models.bundle import ImageSpec
from models.networks import biggan, dcgan, mlp, r3gan, sngan, stylegan2

NetworkConfig = Annotated[
    mlp.MlpConfig
    | dcgan.DcganConfig
    | sngan.SnganConfig
    | biggan.BigganConfig
    | stylegan2.Stylegan2Config
    | r3gan.R3ganConfig,
    Field(discriminator="family"),
]

_Builder = Callable[[Any, ImageSpec, int], nn.Module]


@dataclass(frozen=True)
class Family:
    """The two players of a family; each is built from its configuration, the images, and the number of labels."""

    generator: _Builder
    discriminator: _Builder


FAMILIES = {
    "mlp": Family(mlp.Generator, mlp.Discriminator),
    "dcgan": Family(dcgan.Generator, dcgan.Discriminator),
    "sngan": Family(sngan.Generator, sngan.Discriminator),
    "biggan": Family(biggan.Generator, biggan.Discriminator),
    "stylegan2": Family(stylegan2.Generator, stylegan2.Discriminator),
    "r3gan": Family(r3gan.Generator, r3gan.Discriminator),
}


def build_generator(config: NetworkConfig, image: ImageSpec, labels: int) -> nn.Module:
    """The generator of a family, freshly initialised; ``labels`` is 0 for an unconditional one.

    Raises ``ValueError`` if the family cannot make such images.
    """
    return FAMILIES[config.family].generator(config, image, labels)


def build_discriminator(config: NetworkConfig, image: ImageSpec, labels: int) -> nn.Module:
    """The discriminator that goes with ``build_generator``. Raises ``ValueError`` as that does."""
    return FAMILIES[config.family].discriminator(config, image, labels)


def discriminator_has_batch_norm(config: NetworkConfig) -> bool:
    """Whether batch statistics tie an image's logit to the others'; then a penalty per image is not what it says."""
    return isinstance(config, dcgan.DcganConfig) and config.discriminator_norm == "batch"


def discriminator_has_spectral_norm(config: NetworkConfig) -> bool:
    """Whether each layer's spectral norm is 1, which bounds how fast the logit can change."""
    if isinstance(config, dcgan.DcganConfig):
        return config.discriminator_norm == "spectral"
    return isinstance(config, sngan.SnganConfig | biggan.BigganConfig)
