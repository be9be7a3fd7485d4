"""What every measure expects of features: a finite matrix, one row per image."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.errors import TrainingError

Features = Tensor | NDArray[np.floating[Any]]
"""Floats [n, D], one row per image, as PyTorch or NumPy holds them."""


def as_matrix(features: Features, name: str = "features") -> Tensor:
    """The features as a tensor of their own precision and on their own device.

    Raises ``TrainingError``, with ``name`` in its text, unless they are floats [n, D], all finite.
    """
    if isinstance(features, np.ndarray):
        # PyTorch takes no negative strides, and warns of arrays that it may not write to: those are copied.
        features = torch.from_numpy(np.require(features, requirements=["C", "W"]))
    matrix = features.detach()
    if matrix.ndim != 2 or not matrix.is_floating_point():
        raise TrainingError(
            f"the {name} must be floats of shape [images, dimensions], not {matrix.dtype} {list(matrix.shape)}"
        )
    finite = torch.isfinite(matrix)
    if not finite.all():
        row, column = (int(index) for index in torch.nonzero(~finite)[0])
        raise TrainingError(
            f"the {name} must be finite, but column {column} of row {row} is {float(matrix[row, column])}; "
            "look for broken weights in the generator or in the judge's network"
        )
    return matrix


def as_pair(real: Features, fake: Features, needed: int) -> tuple[Tensor, Tensor]:
    """Real and generated features as float32 matrices of one width on one device, the real ones' own.

    Raises ``TrainingError`` where they are no such matrices, or one has fewer than ``needed`` rows.
    """
    reals, fakes = as_matrix(real, "real features").float(), as_matrix(fake, "generated features").float()
    for matrix, kind in ((reals, "real"), (fakes, "generated")):
        if len(matrix) < needed:
            raise TrainingError(f"this measure needs at least {needed} {kind} images, not {len(matrix)}")
    check_same_dimension(reals.shape[1], fakes.shape[1])
    return reals, fakes.to(reals.device)


def check_same_dimension(first: int, second: int) -> None:
    """Raises ``TrainingError`` unless both sides have features of the same width."""
    if first != second:
        raise TrainingError(
            f"features of {first} and of {second} dimensions cannot be compared; take both from the same network"
        )
