"""The judgement within a training run: one distance and one share, cheap, and the same draw every time."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import nn

from models.noise import noise_for_seeds
from training.data.dataset import TrainingImages
from training.evaluation.judge.network import FEATURES, Judge
from training.evaluation.metrics.frechet import frechet_distance
from training.evaluation.metrics.moments import Moments
from training.evaluation.metrics.neighbours import prdc
from training.evaluation.reference import Bounds, Reference
from training.evaluation.target import BATCH, sample_images, sample_labels
from training.runs.sampling import in_batches

NEIGHBOURS = 2_000
"""Images a side, at most, that the coverage is measured on."""


class LoopJudge:
    """Judges a generator as it grows, always on the same noise and labels, so that only the weights make a difference.

    It draws from no global random state: a run that is judged takes the very steps of one that is not.
    """

    def __init__(
        self, data: TrainingImages, samples: int, judge: Judge, noise_dim: int, conditional: bool, seed: int = 0
    ) -> None:
        """Looks at the real images if nobody has before, and at noise. Raises ``TrainingError`` where the judge knows
        other images, or ``samples`` is no more than the features' dimension.
        """
        self._reference = Reference(data, judge)
        self._noise = noise_for_seeds([seed + index for index in range(samples)], noise_dim)
        self._labels = sample_labels(data, samples, seed) if conditional else None
        bounds = self._reference.bounds("loop", samples, self._bounds)
        self.name = judge.name
        self.floor = bounds.floor["fxd"]
        """The distance of real images that the judge has not seen, as many if there are."""
        self.ceiling = bounds.ceiling["fxd"]
        """The distance of as many images of noise."""
        self.floor_coverage = bounds.floor["coverage"]
        """The share of real images that real images which the judge has not seen cover."""

    def score(self, generator: nn.Module) -> dict[str, float]:
        """``fxd`` (the less, the better) and ``coverage`` (a share of the real images) of a generator [-1, 1].

        The generator is judged in evaluation mode and left in the mode it was in. Raises ``DivergenceError`` if it
        makes anything but finite numbers.
        """
        mode = generator.training
        generator.eval()
        try:
            return self._measure(self._generated(generator))
        finally:
            generator.train(mode)

    def _generated(self, generator: nn.Module) -> Iterable[NDArray[np.uint8]]:
        def make(first: int, last: int) -> NDArray[np.uint8]:
            label = None if self._labels is None else self._labels[first:last]
            return sample_images(generator, self._noise[first:last], label)

        return in_batches(make, len(self._noise), BATCH)

    def _measure(self, batches: Iterable[NDArray[np.uint8]]) -> dict[str, float]:
        features = np.concatenate([self._reference.judge(images)[0] for images in batches])
        moments = Moments(FEATURES)
        moments.add(features)
        near = features[:NEIGHBOURS]
        neighbourhood = prdc(self._reference.real_features[: len(near)], near)
        return {"fxd": frechet_distance(moments, self._reference.moments), "coverage": neighbourhood.coverage}

    def _bounds(self) -> Bounds:
        samples = len(self._noise)
        return Bounds(
            floor=self._measure(images for images, _ in self._reference.held_out_batches(samples)),
            floor_samples=min(samples, self._reference.held_out),
            ceiling=self._measure(images for images, _ in self._reference.noise_batches(samples)),
            asked=(),
            seen=(),
        )
