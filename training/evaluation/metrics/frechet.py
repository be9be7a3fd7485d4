"""The Fréchet distance between two sets of features, and its extrapolation to infinitely many images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from training.errors import TrainingError
from training.evaluation.metrics.features import Features, as_matrix, check_same_dimension
from training.evaluation.metrics.moments import Moments, check_enough


def frechet_distance(a: Moments, b: Moments) -> float:
    """Returns ‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½), at least 0, in the features' unit squared.

    It is the squared 2-Wasserstein distance of two Gaussians (Dowson & Landau 1982). On Inception features it is
    called FID (Heusel et al. 2017, equation 6). It is biased upwards, so only values at the same counts compare.
    Raises ``TrainingError`` if a side has no more images than dimensions, or the dimensions differ.
    """
    return _FactoredMoments(a).distance(b)


@dataclass(frozen=True)
class Extrapolation:
    """The line distance = value + slope / n through the distances at several counts n."""

    value: float
    """The estimated distance of infinitely many generated images."""
    slope: float
    residual: float
    """Root mean square deviation of the distances from the line, in the distance's unit."""
    counts: tuple[int, ...]
    distances: tuple[float, ...]


def extrapolated_distance(counts: Sequence[int], distances: Sequence[float]) -> Extrapolation:
    """Fits the line by least squares: the Fréchet distance's bias falls as 1/n (FID∞, Chong & Forsyth 2020).

    Raises ``TrainingError`` below three different counts: two always lie on a line.
    """
    if len(set(counts)) < 3:
        raise TrainingError(
            f"an extrapolation needs the distance at 3 or more counts of images, not {len(set(counts))}"
        )
    design = np.stack([np.ones(len(counts)), 1 / np.asarray(counts, dtype=np.float64)], axis=1)
    observed = np.asarray(distances, dtype=np.float64)
    (value, slope), *_ = np.linalg.lstsq(design, observed)
    residual = np.sqrt(np.mean((design @ (value, slope) - observed) ** 2))
    return Extrapolation(float(value), float(slope), float(residual), tuple(counts), tuple(distances))


def extrapolation_counts(total: int, dimension: int, points: int = 10) -> tuple[int, ...]:
    """Returns ``points`` counts up to ``total``, evenly spaced from a tenth of it or from twice the dimension.

    Nearer to the features' dimension, the bias is not linear in 1/n. Raises ``TrainingError`` below four images per
    dimension: too little of the line is left.
    """
    if total < 4 * dimension:
        raise TrainingError(
            f"an extrapolation on {dimension} features needs at least {4 * dimension} generated images, not {total}"
        )
    first = max(total // 10, 2 * dimension)
    return tuple(sorted({round(count) for count in np.linspace(first, total, points)}))


class ExtrapolatedFrechet:
    """Measures the distance of a stream of generated features each time it reaches a count.

    The images before each count are a prefix of the stream, so the stream must come in random order.
    """

    def __init__(self, reference: Moments, counts: Sequence[int]) -> None:
        """Takes rising ``counts``, see ``extrapolation_counts``. Raises ``TrainingError`` for too few real images."""
        self.moments = Moments(reference.dimension)
        """Of all generated features so far."""
        self._reference = _FactoredMoments(reference)
        self._counts = tuple(counts)
        self._distances: list[float] = []

    def add(self, features: Features) -> None:
        """Adds one batch [n, D] of any size. Raises ``TrainingError`` as ``Moments.add`` does."""
        batch = as_matrix(features)
        while len(self._distances) < len(self._counts):
            missing = self._counts[len(self._distances)] - self.moments.count
            if len(batch) < missing:
                break
            self.moments.add(batch[:missing])
            batch = batch[missing:]
            self._distances.append(self._reference.distance(self.moments))
        self.moments.add(batch)

    def result(self) -> Extrapolation:
        """Returns the line through every count. Raises ``TrainingError`` if the stream ended before the last one."""
        if len(self._distances) < len(self._counts):
            raise TrainingError(
                f"the extrapolation needs {self._counts[-1]} generated images, and got {self.moments.count}"
            )
        return extrapolated_distance(self._counts, self._distances)


class _FactoredMoments:
    """One side of the distance, with a root R of its covariance, Σ = R Rᵀ, reused for many other sides."""

    def __init__(self, moments: Moments) -> None:
        check_enough(moments.count, moments.dimension)
        self._mean, covariance = moments.mean, torch.from_numpy(moments.covariance)
        self._trace = float(covariance.trace())
        values, vectors = torch.linalg.eigh(covariance)
        self._root = vectors * values.clamp(min=0).sqrt()

    def distance(self, other: Moments) -> float:
        check_same_dimension(len(self._mean), other.dimension)
        check_enough(other.count, other.dimension)
        covariance = torch.from_numpy(other.covariance)
        shift = self._mean - other.mean
        # Rᵀ Σ₂ R has the eigenvalues of Σ₁ Σ₂. It is symmetric, so they are real, and no matrix root is needed.
        # Only rounding makes them negative.
        values = torch.linalg.eigvalsh(self._root.T @ covariance @ self._root).clamp(min=0)
        distance = float(shift @ shift) + self._trace + float(covariance.trace() - 2 * values.sqrt().sum())
        return max(distance, 0.0)
