"""How a graph becomes a bundle's graph: the roles of its inputs and its output, and what is put around it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.packing.inputs import Inputs
from training.packing.outputs import ImageOutput
from training.packing.running import Feed

SMALLEST_TRUNCATION = 0.01
"""Stands for 0 in generators that divide by the length of their noise: 1e-8 beside its square makes no difference."""


@dataclass(frozen=True)
class Plan:
    """What has been found out about a graph, and set by the user."""

    inputs: Inputs
    output: ImageOutput
    labels: tuple[str, ...] | None
    layer_noise: Feed
    """The constants that take the place of the layers' noise inputs."""
    batch: int | None
    """The only batch size of the bundle's graph, or None if it takes any."""
    truncation_shape: tuple[int, ...] | None = None
    """The sizes of one image's truncation, as the graph gets it: () for [N], (1,) for [N,1], …; None for one number."""
    least_truncation: float = 0.0


def layer_noise(inputs: Inputs, seed: int) -> Feed:
    """Returns the constants for the layers' noise inputs, float [1, 1, H, W].

    They come from one ``numpy.random.RandomState(seed)``, in the order of the inputs.
    """
    state = np.random.RandomState(seed)
    return {
        layer.name: state.randn(1, 1, layer.height, layer.width).astype(layer.dtype) for layer in inputs.layer_noise
    }


def own_feed(
    inputs: Inputs,
    constants: Feed,
    noise: NDArray[np.float32],
    label: NDArray[np.int64] | None,
    num_labels: int,
    truncation: NDArray[np.float32],
) -> Feed:
    """Returns the graph's own inputs, unchanged, for noise [N, Z], label [N] and truncation [N], with NumPy alone.

    A graph whose truncation is a single number gets that of the first image.
    """
    count = len(noise)
    if inputs.truncation is None:
        noise = noise * truncation[:, None]
    shape = inputs.noise.shape
    feed: Feed = {
        inputs.noise.name: noise.reshape(count, *shape).astype(inputs.noise.dtype)
        if inputs.noise.has_batch
        else noise.reshape(shape).astype(inputs.noise.dtype)
    }
    if inputs.truncation is not None:
        per_image = inputs.truncation.has_batch
        values = truncation if per_image else truncation[:1]
        sizes = (count if per_image else 1, 1, 1, 1)[: inputs.truncation.rank]
        feed[inputs.truncation.name] = values.reshape(sizes).astype(inputs.truncation.dtype)
    if inputs.label is not None and label is not None:
        rows = np.eye(num_labels)[label] if inputs.label.form == "one-hot" else label
        batch = (count,) if inputs.label.has_batch else ()
        feed[inputs.label.name] = rows.reshape(*batch, *inputs.label.shape).astype(inputs.label.dtype)
    for layer in inputs.layer_noise:
        copies = 1 if layer.count == 1 else count
        feed[layer.name] = constants[layer.name].repeat(copies, axis=0)
    return feed
