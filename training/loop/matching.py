"""Takes over the layers of another network that fit, for a run that starts from another run's networks."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]
"""A network's ``state_dict``."""


def mismatches(network: Weights, other: Weights) -> dict[str, str]:
    """Returns the layers whose tensors differ in name or shape: name of the layer → how it differs, in words.

    The words are of the layer's largest tensor that differs: its weights, and not its bias.
    """
    found: dict[str, list[tuple[Tensor | None, Tensor | None]]] = {}
    for name in dict.fromkeys([*network, *other]):
        here, there = network.get(name), other.get(name)
        if here is None or there is None or here.shape != there.shape:
            found.setdefault(_layer_of(name), []).append((here, there))
    return {layer: _in_words(*max(pairs, key=_size)) for layer, pairs in found.items()}


@torch.no_grad()
def load_matching(network: nn.Module, other: Weights) -> dict[str, str]:
    """Copies the weights and buffers of the layers that fit, and returns ``mismatches``.

    A layer is taken whole or not at all: singular vectors or a bias are worth nothing beside other weights. Raises
    ``ValueError`` if no layer fits.
    """
    own = network.state_dict()
    left = mismatches(own, other)
    taken = [name for name in own if _layer_of(name) not in left]
    if not taken:
        raise ValueError("no layer fits")
    for name in taken:
        own[name].copy_(other[name])
    return left


def _layer_of(name: str) -> str:
    """Returns the module that a tensor belongs to. A normalised weight belongs to the layer that uses it."""
    return name.rpartition(".")[0].partition(".parametrizations")[0]


def _size(pair: tuple[Tensor | None, Tensor | None]) -> int:
    return max(tensor.numel() for tensor in pair if tensor is not None)


def _in_words(here: Tensor | None, there: Tensor | None) -> str:
    if here is None:
        return "only there"
    if there is None:
        return "only here"
    return f"{_shape(there)} there, {_shape(here)} here"


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "one number"
