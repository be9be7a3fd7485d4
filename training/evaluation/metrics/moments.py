"""Mean and covariance of a stream of features, in memory that does not grow with the stream."""

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError
from training.evaluation.metrics.features import Features, as_matrix, check_same_dimension


class Moments:
    """Count, mean and covariance in float64, added batch by batch and merged across processes.

    It holds the scatter around the running mean. A sum of squares would cancel if the mean is large compared with the
    spread (Chan, Golub & LeVeque 1983, here for vectors).
    """

    def __init__(self, dimension: int) -> None:
        self._count = 0
        self._mean = np.zeros(dimension)
        self._scatter = np.zeros((dimension, dimension))

    @property
    def dimension(self) -> int:
        """The number of features D."""
        return len(self._mean)

    @property
    def count(self) -> int:
        """The number of images added."""
        return self._count

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64 [D]."""
        return self._mean.copy()

    @property
    def covariance(self) -> NDArray[np.float64]:
        """The unbiased covariance (divided by count - 1), float64 [D, D]. Raises ``TrainingError`` below two images."""
        if self._count < 2:
            raise TrainingError(f"a covariance needs at least 2 images, not {self._count}")
        return self._scatter / (self._count - 1)

    def add(self, features: Features) -> None:
        """Adds one batch [n, D], which may be empty. Raises ``TrainingError`` unless it is finite and D wide."""
        batch = as_matrix(features).double().cpu()
        check_same_dimension(self.dimension, batch.shape[1])
        if len(batch):
            mean = batch.mean(dim=0)
            centred = batch - mean
            self._combine(len(batch), mean.numpy(), (centred.T @ centred).numpy())

    def merge(self, other: "Moments") -> None:
        """Adds the images of ``other``."""
        check_same_dimension(self.dimension, other.dimension)
        if other._count:
            self._combine(other._count, other._mean, other._scatter)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Returns its whole state: ``count`` int64 [], ``mean`` float64 [D], ``scatter`` float64 [D, D]."""
        return {"count": np.array(self._count), "mean": self._mean.copy(), "scatter": self._scatter.copy()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> "Moments":
        """Restores moments from the result of ``arrays``."""
        moments = cls(len(arrays["mean"]))
        moments._count = int(arrays["count"])
        moments._mean[:] = arrays["mean"]
        moments._scatter[:] = arrays["scatter"]
        return moments

    def _combine(self, count: int, mean: NDArray[np.float64], scatter: NDArray[np.float64]) -> None:
        total = self._count + count
        shift = mean - self._mean
        self._scatter += scatter
        self._scatter += np.outer(shift, shift * (self._count * count / total))
        self._mean += shift * (count / total)
        self._count = total


def check_enough(count: int, dimension: int) -> None:
    """Raises ``TrainingError`` unless ``count`` images can span ``dimension`` dimensions.

    With no more images than dimensions, the covariance is singular, and its zeros dominate the Fréchet distance.
    """
    if count <= dimension:
        raise TrainingError(
            f"the Fréchet distance on {dimension} features needs more than {dimension} images on each side, not {count}"
        )
