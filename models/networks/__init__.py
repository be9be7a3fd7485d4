"""The network families, one file each, and the registry that builds them from their configuration.

Every generator maps noise float [N, Z], label int64 [N] or None, and truncation float [N] or None to images float
[N, C, H, W]. Pixels lie in -1 … 1, or beyond if the generator's output is linear. Every discriminator maps images and
label to logits float [N], high for real.

To add a family, write its file and one record in ``FAMILIES``.
"""

import functools
import operator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from torch import nn

from models.bundle import ImageSpec
from models.networks import biggan, dcgan, mlp, r3gan, sngan, stylegan2
from models.networks.family import Family, FamilyConfig, always, layers_ending_with, never
from models.networks.layers.residual import DownBlock

FAMILIES: dict[str, Family[Any]] = {
    family.name: family
    for family in (
        Family(
            config=mlp.MlpConfig,
            generator=mlp.Generator,
            discriminator=mlp.Discriminator,
            normalises_over_batch=never,
            bounds_slope=never,
            discriminator_layers=lambda network: layers_ending_with(nn.LeakyReLU, network.hidden),
        ),
        Family(
            config=dcgan.DcganConfig,
            generator=dcgan.Generator,
            discriminator=dcgan.Discriminator,
            normalises_over_batch=lambda config: config.discriminator_norm == "batch",
            bounds_slope=lambda config: config.discriminator_norm == "spectral",
            discriminator_layers=lambda network: layers_ending_with(nn.LeakyReLU, network.stages),
        ),
        Family(
            config=sngan.SnganConfig,
            generator=sngan.Generator,
            discriminator=sngan.Discriminator,
            normalises_over_batch=never,
            bounds_slope=always,
            discriminator_layers=lambda network: layers_ending_with(DownBlock, network.blocks),
        ),
        Family(
            config=biggan.BigganConfig,
            generator=biggan.Generator,
            discriminator=biggan.Discriminator,
            normalises_over_batch=never,
            bounds_slope=always,
            discriminator_layers=lambda network: layers_ending_with(DownBlock, network.blocks),
        ),
        Family(
            config=stylegan2.Stylegan2Config,
            generator=stylegan2.Generator,
            discriminator=stylegan2.Discriminator,
            normalises_over_batch=never,
            bounds_slope=never,
            discriminator_layers=lambda network: layers_ending_with(stylegan2.ResidualBlock, network.features),
            has_styles=True,
        ),
        Family(
            config=r3gan.R3ganConfig,
            generator=r3gan.Generator,
            discriminator=r3gan.Discriminator,
            normalises_over_batch=never,
            bounds_slope=never,
            discriminator_layers=lambda network: layers_ending_with(r3gan.ResidualBlock, network.stages),
        ),
    )
}
"""Name → family."""

if TYPE_CHECKING:
    NetworkConfig = FamilyConfig  # mypy cannot read a union that is built from a table
else:
    NetworkConfig = Annotated[
        functools.reduce(operator.or_, (family.config for family in FAMILIES.values())),
        Field(discriminator="family"),
    ]
    """The configuration of any family; pydantic chooses by ``family``."""


def family_of(config: NetworkConfig) -> Family[Any]:
    """Returns the family that a configuration belongs to."""
    return FAMILIES[config.family]


def build_generator(config: NetworkConfig, image: ImageSpec, num_labels: int) -> nn.Module:
    """Returns a freshly initialised generator; ``num_labels`` is 0 for an unconditional one.

    Raises ``ValueError`` if the family cannot generate such images.
    """
    return family_of(config).generator(config, image, num_labels)


def build_discriminator(config: NetworkConfig, image: ImageSpec, num_labels: int) -> nn.Module:
    """Returns the discriminator that goes with ``build_generator``. Raises ``ValueError`` as that does."""
    return family_of(config).discriminator(config, image, num_labels)
