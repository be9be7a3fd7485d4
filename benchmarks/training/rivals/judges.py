"""Judges generated images outside the clock: by the judge that all data sets share, and by the data set's own."""

import numpy as np
from numpy.typing import NDArray

from models.transparency import lay_over
from training.data.dataset import TrainingImages
from training.evaluation.judge.network import FEATURES
from training.evaluation.judge.train import judge_for
from training.evaluation.metrics.frechet import frechet_distance
from training.evaluation.metrics.moments import Moments
from training.evaluation.reference import Reference
from training.evaluation.shared.judge import SharedJudge
from training.evaluation.shared.scores import FRECHET, KERNEL, compare

OWN = "fxd"
METRICS = (KERNEL, FRECHET, OWN)

IMAGES = 5_000
"""Most images a side. Equally many generated and real ones are compared."""

WHITE = (255, 255, 255)

_BATCH = 500


def opaque(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns images uint8 [N, H, W, C]; transparent ones are laid over the white that all others were trained on."""
    return lay_over(images, WHITE) if images.shape[3] == 4 else images


class Judges:
    """Both judges of a data set, and what they see in its real images."""

    def __init__(self, data: TrainingImages) -> None:
        """Trains the data set's own judge unless it is cached. Raises ``TrainingError`` if there are too few images."""
        self._own, self._shared = judge_for(data), SharedJudge()
        reference = Reference(data, self._own)
        self.count = min(IMAGES, reference.largest_sample)
        """Images a side."""
        real = reference.real_images(self.count)
        self._real_shared, self._real_own = self._shared(real), self._moments(real)
        unseen = np.concatenate([images for images, _ in reference.unseen_batches(self.count)])
        self.floor = self.score(unseen) if len(unseen) == self.count else {}
        """The scores of as many real images that no judge has seen; empty if there are not as many."""

    @property
    def name(self) -> str:
        """The own judge's name: its scores compare only under the same one."""
        return self._own.name

    def score(self, images: NDArray[np.uint8]) -> dict[str, float]:
        """Returns the distances of ``count`` images uint8 [count, H, W, C] by metric.

        ``fd-lite0`` is left out where there are too few images for it.
        """
        images = opaque(images)
        own = frechet_distance(self._moments(images), self._real_own)
        return compare(self._real_shared, self._shared(images)) | {OWN: own}

    def _moments(self, images: NDArray[np.uint8]) -> Moments:
        moments = Moments(FEATURES)
        for first in range(0, len(images), _BATCH):
            moments.add(self._own(images[first : first + _BATCH])[0])
        return moments
