"""The network families, one file each, and the registry that builds them from their configuration.

Every generator maps noise float [N, Z], label int64 [N] or None, and truncation float [N] or None to images float
[N, C, H, W] in -1 … 1; every discriminator maps images and label to logits float [N], high for real.
"""

from collections.abc import Callable

from torch import nn

from models.bundle import ImageSpec
from models.networks import dcgan

NetworkConfig = dcgan.DcganConfig

_Builder = Callable[[NetworkConfig, ImageSpec, int], nn.Module]

FAMILIES: dict[str, tuple[_Builder, _Builder]] = {"dcgan": (dcgan.Generator, dcgan.Discriminator)}
"""Family name → its generator and its discriminator."""


def build_generator(config: NetworkConfig, image: ImageSpec, labels: int) -> nn.Module:
    """The generator of a family, freshly initialised; ``labels`` is 0 for an unconditional one.

    Raises ``ValueError`` if the family cannot make such images.
    """
    generator, _ = FAMILIES[config.family]
    return generator(config, image, labels)


def build_discriminator(config: NetworkConfig, image: ImageSpec, labels: int) -> nn.Module:
    """The discriminator that goes with ``build_generator``. Raises ``ValueError`` as that does."""
    _, discriminator = FAMILIES[config.family]
    return discriminator(config, image, labels)
