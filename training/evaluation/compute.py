"""Every measure at once, over one stream of images and in memory that does not grow with it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.evaluation.judge.network import FEATURES
from training.evaluation.metrics.frechet import ExtrapolatedFrechet, extrapolation_counts, frechet_distance
from training.evaluation.metrics.inception_score import InceptionScore
from training.evaluation.metrics.kernel import kernel_distance
from training.evaluation.metrics.moments import Moments
from training.evaluation.metrics.neighbours import memorisation, nearest_training_images, prdc
from training.evaluation.metrics.reservoir import Reservoir
from training.evaluation.metrics.sliced_wasserstein import sliced_wasserstein
from training.evaluation.reference import HELD_OUT, Reference

NEIGHBOURS = 10_000
"""Images a side, at most, whose features are held for the measures that compare them one by one."""

SLICED = 1_024
"""Images a side, at most, whose patches are compared."""

SPLITS = 10

EXTRAPOLATED = 16 * FEATURES
"""Images at least for an extrapolation: on fewer it says less of the generator than of the draw."""


@dataclass(frozen=True)
class Metric:
    """What a number means."""

    better: Literal["lower", "higher", "real"]
    """Which way is up; ``real``: the nearer to what real images score, the better."""
    protocol: str


METRICS = {
    "fxd": Metric("lower", "Fréchet distance of the judge's features to those of half A"),
    "fxd_infinity": Metric("lower", "fxd at 10 growing counts, extrapolated to endlessly many images"),
    "kernel_distance": Metric(
        "lower", "squared MMD of the judge's features, kernel (x·y / D + 1)³, unbiased, 100 subsets of up to 1000"
    ),
    "precision": Metric("higher", f"k = 3, equally many images a side, up to {NEIGHBOURS}"),
    "recall": Metric("higher", f"k = 3, equally many images a side, up to {NEIGHBOURS}"),
    "density": Metric("real", f"k = 5, equally many images a side, up to {NEIGHBOURS}"),
    "coverage": Metric("higher", f"k = 5, equally many images a side, up to {NEIGHBOURS}"),
    "classifier_score": Metric("higher", f"the Inception Score's formula on the judge's labels, {SPLITS} splits"),
    "label_agreement": Metric("higher", "share of images in which the judge sees the label that was asked for"),
    "nearest_ratio": Metric(
        "real", f"median distance to the nearest image of half A, over that of held-out images; {HELD_OUT} a side"
    ),
    "copies": Metric("real", f"share of images nearer to half A than 95 % of held-out ones; {HELD_OUT} a side"),
    "sliced_wasserstein": Metric(
        "lower", f"× 1000, 7 × 7 patches of a Laplacian pyramid, up to {SLICED} images a side; no judge in it"
    ),
}


@dataclass(frozen=True)
class MetricResults:
    """What a stream of images came to."""

    scores: dict[str, float]
    """By metric; one that the images or the judge do not allow is missing."""
    asked: NDArray[np.int64]
    """Per label, how many images were to show it, int64 [K]; 0 everywhere if nothing was asked for, K = 0 if the judge
    does not know the data's labels."""
    seen: NDArray[np.int64]
    """Per label, in how many of those the judge saw it, int64 [K]."""


def compute_metrics(
    batches: Iterable[tuple[NDArray[np.uint8], NDArray[np.int64] | None]], count: int, reference: Reference
) -> MetricResults:
    """Measures a stream of ``count`` images uint8 [n, H, W, C] and labels int64 [n] against real ones.

    The stream is in random order. Raises ``TrainingError`` for images of another size than the judge's.
    """
    judge = reference.judge
    names = judge.record.label_names
    comparable = names is not None and names == reference.data.label_names
    frechet = (
        ExtrapolatedFrechet(reference.moments, extrapolation_counts(count, FEATURES)) if count >= EXTRAPOLATED else None
    )
    moments = frechet.moments if frechet else Moments(FEATURES)
    classified = InceptionScore(count, SPLITS) if names else None
    kept_features, kept_images = Reservoir(NEIGHBOURS, 0), Reservoir(SLICED, 0)
    asked, seen = np.zeros((2, len(names or ()) if comparable else 0), np.int64)
    for images, labels in batches:
        features, probabilities = judge(images)
        (frechet or moments).add(features)
        kept_features.add(features)
        kept_images.add(images)
        if classified:
            classified.add(probabilities)
        if comparable and labels is not None:
            asked += np.bincount(labels, minlength=len(asked))
            seen += np.bincount(labels[probabilities.argmax(1) == labels], minlength=len(seen))

    features, images = kept_features.sample(), kept_images.sample()
    scores = {"fxd": frechet_distance(moments, reference.moments)}
    if frechet:
        scores["fxd_infinity"] = frechet.result().value
    scores["kernel_distance"] = kernel_distance(reference.real_features[:NEIGHBOURS], features).value
    # The more images, the nearer their neighbours: both sides get equally many.
    neighbourhood = prdc(reference.real_features[: len(features)], features, limit=NEIGHBOURS)
    scores |= {name: getattr(neighbourhood, name) for name in ("precision", "recall", "density", "coverage")}
    if classified:
        scores["classifier_score"] = classified.score().value
    if asked.any():
        scores["label_agreement"] = float(seen.sum() / asked.sum())
    distances = nearest_training_images(features[:HELD_OUT], reference.real_features)[0]
    copied = memorisation(distances, reference.held_out_distances)
    scores |= {"nearest_ratio": copied.median_ratio, "copies": copied.copies}
    real_images = reference.real_images(SLICED)
    scores["sliced_wasserstein"] = sliced_wasserstein(real_images, images, limit=SLICED).mean
    return MetricResults(scores, asked, seen)
