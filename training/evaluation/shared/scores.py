"""Computes ``fd-lite0`` and ``kd-lite0``: how far generated images are from real ones, to the judge that all share."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from models.pretrained.efficientnet_lite0 import POOLED_DIM
from training.data.cache import FEATURES_ENDING, judges_folder
from training.evaluation.metrics.frechet import frechet_distance
from training.evaluation.metrics.kernel import unbiased_mmd2
from training.evaluation.metrics.moments import Moments
from training.evaluation.reference import Baselines, Reference, cached_features
from training.evaluation.scores import JudgedScore, share
from training.evaluation.shared.judge import NAME, SIDE, SharedJudge, features_digest

FRECHET = f"fd-{NAME}"
KERNEL = f"kd-{NAME}"

IMAGES = 5_000
"""Most images a side. The Fréchet distance is biased by its count, so every data set that has as many uses as many."""

Batch = tuple[NDArray[np.uint8], NDArray[np.int64] | None]

_PROTOCOLS = {
    FRECHET: "Fréchet distance",
    KERNEL: "squared MMD, kernel (x·y / D + 1)³, unbiased, over all pairs of images",
}


class SharedComparison:
    """Compares repeats of generated images with the fit split, equally many images a side."""

    def __init__(self, reference: Reference, samples: int) -> None:
        """Computes the features of real images and the baselines unless they are cached.

        ``samples`` images are generated per repeat. Raises ``TrainingError`` if the judge cannot start.
        """
        self._judge = SharedJudge()
        self._reference = reference
        self.count = min(IMAGES, samples, len(reference.real_features))
        """Images a side."""
        self._repeats: list[dict[str, float]] = []
        key = f"{reference.data.fingerprint}-{NAME}-{features_digest()}"
        self._real = cached_features(
            judges_folder() / f"{key}{FEATURES_ENDING}", lambda: self._features(reference.fit_batches(IMAGES))
        )[: self.count]
        self._baselines = reference.baselines(NAME, self.count, self._compute_baselines)

    @property
    def left_out(self) -> dict[str, str]:
        """Why a metric has no score, by metric."""
        if self.count > POOLED_DIM:
            return {}
        return {
            FRECHET: f"needs more than {POOLED_DIM} images a side, and {self.count} can be compared; read {KERNEL}",
        }

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yields one repeat's images unchanged, and scores the first ``count`` of them on the way."""
        features: list[NDArray[np.float32]] = []
        missing = self.count
        for images, labels in batches:
            if missing > 0:
                features.append(self._judge(images[:missing]))
                missing -= len(features[-1])
            yield images, labels
        self._repeats.append(compare(self._real, np.concatenate(features)))

    def scores(self, seed: int) -> list[JudgedScore]:
        """Returns the mean over the watched repeats, whose images had the seeds from ``seed`` on."""
        return [self._score(metric, seed) for metric in self._repeats[0]]

    def _score(self, metric: str, seed: int) -> JudgedScore:
        values = np.array([repeat[metric] for repeat in self._repeats])
        value = float(values.mean())
        floor = self._baselines.real_baseline.get(metric)
        ceiling = self._baselines.noise_baseline[metric]
        return JudgedScore(
            metric=metric,
            value=value,
            judge=NAME,
            samples=self.count,
            floor=floor,
            ceiling=ceiling,
            deviation=float(values.std(ddof=1)),
            share=share(value, floor, ceiling),
            better="lower",
            protocol=f"{_PROTOCOLS[metric]}; pooled features of EfficientNet-Lite0 at {SIDE} × {SIDE} (bicubic, "
            f"antialiased, rounded to uint8), D = {POOLED_DIM}; mean of {len(values)} × {self.count} generated images "
            f"against {self.count} of the fit split, seeds from {seed}; floor from {self._baselines.real_samples} "
            "real images",
        )

    def _features(self, batches: Iterable[Batch]) -> NDArray[np.float32]:
        return np.concatenate([self._judge(images) for images, _ in batches])

    def _compute_baselines(self) -> Baselines:
        unseen = self._features(self._reference.unseen_batches(self.count))
        floors = compare(self._real[: len(unseen)], unseen)
        if len(unseen) < self.count:
            floors.pop(FRECHET, None)  # at another count its bias is another
        return Baselines(
            real_baseline=floors,
            real_samples=len(unseen),
            noise_baseline=compare(self._real, self._features(self._reference.noise_batches(self.count))),
        )


def compare(real: NDArray[np.float32], other: NDArray[np.float32]) -> dict[str, float]:
    """Returns the distances of equally many features [n, D] a side, by metric: the Fréchet distance if n > D."""
    kernel = {KERNEL: unbiased_mmd2(real, other)}
    if len(other) <= POOLED_DIM:
        return kernel
    return {FRECHET: frechet_distance(_moments(real), _moments(other))} | kernel


def _moments(features: NDArray[np.float32]) -> Moments:
    moments = Moments(POOLED_DIM)
    moments.add(features)
    return moments
