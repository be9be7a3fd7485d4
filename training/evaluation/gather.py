"""Reads a stream of images through the judge, and gathers what metrics need in memory that does not grow with it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.transparency import premultiply
from training.evaluation.judge.network import FEATURES
from training.evaluation.metrics.frechet import ExtrapolatedFrechet, extrapolation_counts
from training.evaluation.metrics.inception_score import InceptionScore
from training.evaluation.metrics.moments import Moments
from training.evaluation.metrics.reservoir import Reservoir
from training.evaluation.metrics.table import METRICS, NEIGHBOURS, SLICED, SPLITS, Gathered, LabelCounts, compute_scores
from training.evaluation.reference import Reference

MIN_EXTRAPOLATED = 16 * FEATURES
"""Fewest images of an extrapolation. Below this count, sampling noise dominates."""


@dataclass(frozen=True)
class MetricResults:
    """The scores of one stream of images."""

    scores: dict[str, float]
    """By metric; a metric is missing if the images or the judge do not allow it."""
    labels: LabelCounts | None
    """None if no labels were requested, or the judge has others."""


def compute_metrics(
    batches: Iterable[tuple[NDArray[np.uint8], NDArray[np.int64] | None]],
    count: int,
    reference: Reference,
    queries: NDArray[np.float32] | None = None,
) -> MetricResults:
    """Compares a stream of ``count`` images uint8 [n, H, W, C] and labels int64 [n] with real images.

    The stream must come in random order. ``queries`` are the features whose nearest training images are searched, if
    not those of the stream. Raises ``TrainingError`` if the images have another size than the judge's.
    """
    gathered = gather(batches, count, reference, queries)
    return MetricResults(compute_scores(gathered, METRICS), gathered.labels)


def gather(
    batches: Iterable[tuple[NDArray[np.uint8], NDArray[np.int64] | None]],
    count: int,
    reference: Reference,
    queries: NDArray[np.float32] | None = None,
) -> Gathered:
    """Returns what the metrics need of a stream, see ``compute_metrics``."""
    judge = reference.judge
    names = judge.record.label_names
    comparable = names is not None and names == reference.data.label_names
    extrapolated = (
        ExtrapolatedFrechet(reference.moments, extrapolation_counts(count, FEATURES))
        if count >= MIN_EXTRAPOLATED
        else None
    )
    moments = extrapolated.moments if extrapolated else Moments(FEATURES)
    class_score = InceptionScore(count, SPLITS) if names else None
    features_sample, image_sample = Reservoir(NEIGHBOURS, 0), Reservoir(SLICED, 0)
    requested, recognised = np.zeros((2, len(names or ()) if comparable else 0), np.int64)
    for images, labels in batches:
        features, probabilities = judge(images)
        (extrapolated or moments).add(features)
        features_sample.add(features)
        image_sample.add(premultiply(images))
        if class_score:
            class_score.add(probabilities)
        if comparable and labels is not None:
            requested += np.bincount(labels, minlength=len(requested))
            recognised += np.bincount(labels[probabilities.argmax(1) == labels], minlength=len(recognised))
    return Gathered(
        real=reference,
        moments=moments,
        features=features_sample.sample(),
        images=image_sample.sample(),
        labels=LabelCounts(requested, recognised) if requested.any() else None,
        queries=queries,
        class_score=class_score.score() if class_score else None,
        extrapolation=extrapolated.result() if extrapolated else None,
    )
