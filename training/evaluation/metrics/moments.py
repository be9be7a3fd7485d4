"""Mean and covariance of a stream of features, in memory that does not grow with the stream."""

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError
from training.evaluation.metrics.features import Features, as_matrix, check_same_dimension


class Moments:
    """Count, mean and covariance in float64, gathered batch by batch and merged from several processes.

    Kept is the scatter around the running mean, not the sum of squares: that would cancel where the mean is large
    against the spread (Chan, Golub & LeVeque 1983, here for vectors).
    """

    def __init__(self, dimension: int) -> None:
        self._count = 0
        self._mean = np.zeros(dimension)
        self._scatter = np.zeros((dimension, dimension))

    @property
    def dimension(self) -> int:
        """The features' width D."""
        return len(self._mean)

    @property
    def count(self) -> int:
        """How many images were added."""
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
        """Takes one batch [n, D], n = 0 included. Raises ``TrainingError`` unless it is finite and as wide as D."""
        batch = as_matrix(features).double().cpu()
        check_same_dimension(self.dimension, batch.shape[1])
        if len(batch):
            mean = batch.mean(dim=0)
            centred = batch - mean
            self._absorb(len(batch), mean.numpy(), (centred.T @ centred).numpy())

    def merge(self, other: "Moments") -> None:
        """Takes in what ``other`` has seen, as if its images had been added here."""
        check_same_dimension(self.dimension, other.dimension)
        if other._count:
            self._absorb(other._count, other._mean, other._scatter)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything it knows: ``count`` int64 [], ``mean`` float64 [D], ``scatter`` float64 [D, D]."""
        return {"count": np.array(self._count), "mean": self._mean.copy(), "scatter": self._scatter.copy()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> "Moments":
        """What ``arrays`` returned, again as moments."""
        moments = cls(len(arrays["mean"]))
        moments._count = int(arrays["count"])
        moments._mean[:] = arrays["mean"]
        moments._scatter[:] = arrays["scatter"]
        return moments

    def _absorb(self, count: int, mean: NDArray[np.float64], scatter: NDArray[np.float64]) -> None:
        total = self._count + count
        shift = mean - self._mean
        self._scatter += scatter
        self._scatter += np.outer(shift, shift * (self._count * count / total))
        self._mean += shift * (count / total)
        self._count = total


def check_enough(count: int, dimension: int) -> None:
    """Raises ``TrainingError`` unless ``count`` images can span ``dimension`` dimensions.

    With no more images than dimensions the covariance is singular, and a Fréchet distance would mostly measure that.
    """
    if count <= dimension:
        raise TrainingError(
            f"the Fréchet distance on {dimension} features needs more than {dimension} images on each side, not {count}"
        )
