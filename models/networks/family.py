"""What a network family gives to the registry: a base for its configuration, and the record of its parts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor, nn

from models.bundle import ImageSpec
from models.strict import StrictModel


class FamilyConfig(StrictModel):
    """Settings of a family's networks. A family narrows ``family`` to its name and limits ``noise_dim``."""

    family: str
    noise_dim: int


C = TypeVar("C", bound=FamilyConfig)
Layer = list[nn.Module]
"""A layer of a network: its modules in order."""


class StyledGenerator(Protocol):
    """A generator in two halves: from noise to a style w, and from the w of each layer to images."""

    num_styles: int
    """How many layers may differ in their w."""
    mapping: nn.Module
    """Noise float [N, Z] and label int64 [N] or None → w float32 [N, W]."""

    def map_noise(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """Returns ``mapping``'s w. In training every call also updates the average w."""

    def synthesise(self, styles: Sequence[Tensor]) -> Tensor:
        """Returns images float32 [N, C, H, W] from ``num_styles`` w, each float32 [N, W], from coarse to fine."""


@dataclass(frozen=True, kw_only=True)
class Family(Generic[C]):
    """One network family. ``generator`` and ``discriminator`` take the configuration, the images, the label count."""

    config: type[C]
    generator: Callable[[C, ImageSpec, int], nn.Module]
    discriminator: Callable[[C, ImageSpec, int], nn.Module]
    normalises_over_batch: Callable[[C], bool]
    """Whether the discriminator's normalisation makes an image's logit depend on the rest of its batch.

    A penalty on the gradient of single images is then undefined.
    """
    bounds_slope: Callable[[C], bool]
    """Whether the discriminator's weights have spectral norm 1, which bounds how fast its logit can change."""
    discriminator_layers: Callable[[Any], list[Layer]]
    """A discriminator's layers that find features, from the image on, each a list of modules.

    What makes a logit of the features is no such layer: the head, and what compares the images of a batch.
    """
    has_styles: bool = False
    """Whether the generator works in two halves that style mixing and path-length regularisation reach in between.

    It is then a ``StyledGenerator``.
    """

    @property
    def name(self) -> str:
        """The value of the setting ``network.family``."""
        name: str = self.config.model_fields["family"].default
        return name


def always(config: Any) -> bool:
    """Returns True: a property that no setting of the family changes."""
    return True


def never(config: Any) -> bool:
    """Returns False: a property that no setting of the family changes."""
    return False


def layers_ending_with(kind: type[nn.Module], modules: Iterable[nn.Module]) -> list[Layer]:
    """Cuts modules into layers, each up to and with the next module of ``kind``. Leaves out what follows the last."""
    layers: list[Layer] = []
    layer: Layer = []
    for module in modules:
        layer.append(module)
        if isinstance(module, kind):
            layers.append(layer)
            layer = []
    return layers
