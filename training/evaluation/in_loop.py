"""Judges a generator during training: few metrics, cheap, and on the same noise every time."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import nn

from models.noise import noise_for_seeds
from training.data.dataset import TrainingImages
from training.evaluation.judge.network import FEATURES, Judge
from training.evaluation.metrics.moments import Moments
from training.evaluation.metrics.table import LOOP_METRICS, Gathered, compute_scores
from training.evaluation.reference import Baselines, Reference
from training.evaluation.seeds import CHOOSING
from training.evaluation.target import BATCH, sample_images, sample_labels
from training.runs.sampling import in_batches

NEIGHBOURS = 2_000
"""Largest number of images per side whose features are compared one by one."""


class LoopJudge:
    """Judges a generator as it trains, always on the same noise and labels, so that only the weights matter.

    It uses no global random state: a run takes the same steps with and without it.
    """

    def __init__(
        self, data: TrainingImages, samples: int, judge: Judge, noise_dim: int, conditional: bool, seed: int = CHOOSING
    ) -> None:
        """Computes the features of the real images and the baselines unless they are cached.

        Scores and baselines need equally many images, so ``samples`` is at most half of the data. Raises
        ``TrainingError`` if the judge knows images of another size, or ``samples`` does not exceed the features'
        dimension.
        """
        self._reference = Reference(data, judge)
        self.samples = samples = min(samples, self._reference.largest_sample)
        """Generated images of each score, and images of each baseline."""
        self._noise = noise_for_seeds([seed + index for index in range(samples)], noise_dim)
        self._labels = sample_labels(data, samples, seed) if conditional else None
        baselines = self._reference.baselines("loop", samples, self._baselines)
        self.name = judge.name
        self.real_baseline = baselines.real_baseline
        """Scores of ``samples`` real images that the judge has not seen."""
        self.noise_baseline = baselines.noise_baseline
        """Scores of ``samples`` images of noise."""

    def score(self, generator: nn.Module) -> dict[str, float]:
        """Returns the scores of ``LOOP_METRICS`` by name, for a generator of images in [-1, 1].

        The generator runs in evaluation mode, and returns to the mode it was in. Raises ``DivergenceError`` if it
        generates NaN or Inf.
        """
        mode = generator.training
        generator.eval()
        try:
            return self._scores(self._generate(generator))
        finally:
            generator.train(mode)

    def _generate(self, generator: nn.Module) -> Iterable[NDArray[np.uint8]]:
        def generate(first: int, last: int) -> NDArray[np.uint8]:
            label = None if self._labels is None else self._labels[first:last]
            return sample_images(generator, self._noise[first:last], label)

        return in_batches(generate, len(self._noise), BATCH)

    def _scores(self, batches: Iterable[NDArray[np.uint8]]) -> dict[str, float]:
        features = np.concatenate([self._reference.judge(images)[0] for images in batches])
        moments = Moments(FEATURES)
        moments.add(features)
        return compute_scores(Gathered(self._reference, moments, features[:NEIGHBOURS]), LOOP_METRICS)

    def _baselines(self) -> Baselines:
        samples = len(self._noise)
        return Baselines(
            real_baseline=self._scores(images for images, _ in self._reference.unseen_batches(samples)),
            real_samples=samples,
            noise_baseline=self._scores(images for images, _ in self._reference.noise_batches(samples)),
        )
