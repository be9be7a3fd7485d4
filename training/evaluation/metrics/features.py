"""Checks features: every metric takes a finite matrix with one row per image."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.errors import TrainingError

Features = Tensor | NDArray[np.floating[Any]]
"""Floats [n, D] of PyTorch or NumPy, one row per image."""


def as_matrix(features: Features, name: str = "features") -> Tensor:
    """Returns features as a tensor, with precision and device unchanged.

    Raises ``TrainingError``, with ``name`` in its text, unless they are finite floats [n, D].
    """
    if isinstance(features, np.ndarray):
        # PyTorch rejects negative strides and warns about read-only arrays, so such arrays are copied.
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
            "check the weights of the generator and of the judge for NaN or Inf"
        )
    return matrix


def as_pair(real: Features, fake: Features, needed: int) -> tuple[Tensor, Tensor]:
    """Returns real and generated features as float32 matrices of equal width, on the real ones' device.

    Raises ``TrainingError`` if they are no such matrices, or one has fewer than ``needed`` rows.
    """
    reals, fakes = as_matrix(real, "real features").float(), as_matrix(fake, "generated features").float()
    for matrix, kind in ((reals, "real"), (fakes, "generated")):
        if len(matrix) < needed:
            raise TrainingError(f"this metric needs at least {needed} {kind} images, not {len(matrix)}")
    check_same_dimension(reals.shape[1], fakes.shape[1])
    return reals, fakes.to(reals.device)


def check_same_dimension(first: int, second: int) -> None:
    """Raises ``TrainingError`` unless both sides have the same number of features."""
    if first != second:
        raise TrainingError(
            f"features of {first} and of {second} dimensions cannot be compared; take both from the same network"
        )
