"""The table of metrics: each with its name, its direction, its protocol, and how it is computed.

Evaluation, judging during training, reports and cards follow this table. A new metric is one more record here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.evaluation.metrics.estimate import Estimate
from training.evaluation.metrics.frechet import Extrapolation, frechet_distance
from training.evaluation.metrics.kernel import kernel_distance
from training.evaluation.metrics.moments import Moments
from training.evaluation.metrics.neighbours import PRDC, Memorisation, memorisation, prdc
from training.evaluation.metrics.sliced_wasserstein import sliced_wasserstein

NEIGHBOURS = 10_000
"""Largest number of images per side whose features are held for metrics that compare them one by one."""

SLICED = 1_024
"""Largest number of images per side whose patches are compared."""

SPLITS = 10
"""Splits of the classifier score."""

HELD_OUT = 2_000
"""Largest number of held-out and of generated images whose nearest training image is searched."""

Better = Literal["lower", "higher", "real"]
"""Which direction is an improvement; ``real``: the nearer to the score of real images, the better."""

Needed = Literal["features", "images", "labels", "class_score", "extrapolation", "memorisation"]
"""The field of ``Gathered`` that a metric is computed from."""

T = TypeVar("T")


class RealImages(Protocol):
    """The real images that generated ones are compared with."""

    @property
    def moments(self) -> Moments:
        """Of the features of the fit split."""

    @property
    def real_features(self) -> NDArray[np.float32]:
        """float32 [N, D] of the fit split, in random order."""

    @property
    def held_out_distances(self) -> Tensor | None:
        """From images that the generator has not seen to their nearest training image; None without such images."""

    def training_distances(self, features: NDArray[np.float32]) -> Tensor:
        """From features [n, D] to their nearest training image or mirrored training image."""

    def compared_images(self, count: int) -> NDArray[np.uint8]:
        """At most ``count`` random images of the fit split, uint8 [N, H, W, C], premultiplied if they have alpha."""


@dataclass(frozen=True)
class LabelCounts:
    """How often each label was requested, and how often the judge recognised it."""

    requested: NDArray[np.int64]
    """Images per label, int64 [K]; for real images, those that have the label."""
    recognised: NDArray[np.int64]
    """Of those, the images in which the judge sees the label, int64 [K]."""


@dataclass(frozen=True)
class Gathered:
    """What metrics are computed from, gathered from one stream of images."""

    real: RealImages
    moments: Moments
    """Of the features of all images."""
    features: NDArray[np.float32]
    """Features of a random sample, float32 [n, D]."""
    images: NDArray[np.uint8] | None = None
    """A random sample, uint8 [n, H, W, C], premultiplied if it has alpha."""
    labels: LabelCounts | None = None
    """None if no labels were requested, or the judge has others."""
    class_score: Estimate | None = None
    """None if the judge has not learnt labels."""
    queries: NDArray[np.float32] | None = None
    """Features whose nearest training images are searched; None = the first ``HELD_OUT`` of ``features``."""
    extrapolation: Extrapolation | None = None
    """None below 16 images per dimension of the features: there, sampling noise dominates."""

    @cached_property
    def neighbourhoods(self) -> PRDC:
        """Precision, recall, density and coverage, on equally many images per side."""
        return prdc(*self.pairs, limit=NEIGHBOURS)

    @property
    def pairs(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features of equally many real and generated images, at most ``NEIGHBOURS``: two random samples.

        The more images a side has, the nearer its neighbours are, and the more of the other side they cover.
        """
        real = self.real.real_features
        count = min(len(real), len(self.features), NEIGHBOURS)
        return real[:count], self.features[:count]

    @cached_property
    def memorisation(self) -> Memorisation | None:
        """Nearest training images of generated images against those of held-out ones; None if none is held out."""
        held_out = self.real.held_out_distances
        if held_out is None:
            return None
        queries = self.features[:HELD_OUT] if self.queries is None else self.queries
        return memorisation(self.real.training_distances(queries), held_out)


@dataclass(frozen=True)
class Metric:
    """One metric: what its number means, and how it is computed."""

    name: str
    """As in ``scores.json``, ``scores.jsonl`` and cards."""
    better: Better
    protocol: str
    """How it is computed. Names in braces become the counts of ``Reference.counts``."""
    needs: Needed
    """The field without which the metric is left out."""
    compute: Callable[[Gathered], float]
    uses_judge: bool = True
    """Whether the judge's features or labels are in it, so that only scores by the same judge compare."""
    in_loop: bool = False
    """Whether it is also computed during training; it then needs only features."""

    def available(self, gathered: Gathered) -> bool:
        """Returns whether the metric can be computed."""
        return getattr(gathered, self.needs) is not None


def compute_scores(gathered: Gathered, metrics: tuple[Metric, ...]) -> dict[str, float]:
    """Returns the score of every available metric, by name and in the order of ``metrics``."""
    return {metric.name: metric.compute(gathered) for metric in metrics if metric.available(gathered)}


def _given(value: T | None) -> T:
    assert value is not None
    return value


def _kernel_distance(gathered: Gathered) -> float:
    return kernel_distance(*gathered.pairs).value


def _label_agreement(gathered: Gathered) -> float:
    labels = _given(gathered.labels)
    return float(labels.recognised.sum() / labels.requested.sum())


def _sliced_wasserstein(gathered: Gathered) -> float:
    generated = _given(gathered.images)
    real = gathered.real.compared_images(min(len(generated), SLICED))
    return sliced_wasserstein(real, generated[: len(real)], limit=SLICED).mean


METRICS: tuple[Metric, ...] = (
    Metric(
        "fxd",
        "lower",
        "Fréchet distance of the judge's features, {samples} images to the {fit} real ones of the fit split",
        needs="features",
        compute=lambda gathered: frechet_distance(gathered.moments, gathered.real.moments),
        in_loop=True,
    ),
    Metric(
        "fxd_infinity",
        "lower",
        "fxd at 10 growing counts up to {samples}, extrapolated to infinitely many images",
        needs="extrapolation",
        compute=lambda gathered: _given(gathered.extrapolation).value,
    ),
    Metric(
        "kernel_distance",
        "lower",
        "squared MMD of the judge's features, kernel (x·y / D + 1)³, unbiased, 100 subsets of {subset} out of {pairs} "
        "images a side",
        needs="features",
        compute=_kernel_distance,
    ),
    Metric(
        "precision",
        "higher",
        "k = 3, {pairs} images a side",
        needs="features",
        compute=lambda gathered: gathered.neighbourhoods.precision,
    ),
    Metric(
        "recall",
        "higher",
        "k = 3, {pairs} images a side",
        needs="features",
        compute=lambda gathered: gathered.neighbourhoods.recall,
    ),
    Metric(
        "density",
        "real",
        "k = 5, {pairs} images a side",
        needs="features",
        compute=lambda gathered: gathered.neighbourhoods.density,
    ),
    Metric(
        "coverage",
        "higher",
        "k = 5, {pairs} images a side",
        needs="features",
        compute=lambda gathered: gathered.neighbourhoods.coverage,
        in_loop=True,
    ),
    Metric(
        "classifier_score",
        "higher",
        f"the Inception Score's formula on the judge's labels, {SPLITS} splits",
        needs="class_score",
        compute=lambda gathered: _given(gathered.class_score).value,
    ),
    Metric(
        "label_agreement",
        "higher",
        "share of images in which the judge sees the requested label",
        needs="labels",
        compute=_label_agreement,
    ),
    Metric(
        "nearest_ratio",
        "real",
        "median distance of {queries} images to the nearest of {training} training images and their mirrors, over that "
        "of {held_out} held-out ones",
        needs="memorisation",
        compute=lambda gathered: _given(gathered.memorisation).median_ratio,
    ),
    Metric(
        "copies",
        "real",
        "share of {queries} images nearer to one of {training} training images or their mirrors than 95 % of "
        "{held_out} held-out ones",
        needs="memorisation",
        compute=lambda gathered: _given(gathered.memorisation).copies,
    ),
    Metric(
        "sliced_wasserstein",
        "lower",
        "× 1000, 7 × 7 patches of a Laplacian pyramid, {sliced} images a side; no judge in it",
        needs="images",
        compute=_sliced_wasserstein,
        uses_judge=False,
    ),
)
"""Every metric, in the order of reports."""

LOOP_METRICS = tuple(metric for metric in METRICS if metric.in_loop)
"""The metrics computed during training."""
