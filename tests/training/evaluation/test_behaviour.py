"""On real digits, every metric grows with degradation, and real images against real ones score near the optimum."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from training.data.dataset import TrainingImages
from training.evaluation.metrics.frechet import frechet_distance
from training.evaluation.metrics.kernel import kernel_distance
from training.evaluation.metrics.moments import Moments
from training.evaluation.metrics.neighbours import memorisation, nearest_training_images, prdc
from training.evaluation.metrics.sliced_wasserstein import sliced_wasserstein

Images = NDArray[np.uint8]


def blur(images: Images, labels: NDArray[np.int64], strength: int) -> Images:
    radius = (0, 0.7, 1.5, 4)[strength]
    blurred = [Image.fromarray(image[..., 0]).filter(ImageFilter.GaussianBlur(radius)) for image in images]
    return np.stack([np.asarray(image)[..., None] for image in blurred])


def noise(images: Images, labels: NDArray[np.int64], strength: int) -> Images:
    deviation = (0, 30, 80, 200)[strength]
    added = images + deviation * np.random.RandomState(0).randn(*images.shape)
    return added.round().clip(0, 255).astype(np.uint8)


def dropped_classes(images: Images, labels: NDArray[np.int64], strength: int) -> Images:
    """Equally many images of the remaining classes."""
    left = np.flatnonzero(labels < (10, 6, 3, 1)[strength])
    return images[np.resize(left, len(images))]


def imbalance(images: Images, labels: NDArray[np.int64], strength: int) -> Images:
    """Every class remains, but an increasing share shows the digit 1."""
    ones = np.resize(np.flatnonzero(labels == 1), len(images) * strength // 4)
    return np.concatenate([images[ones], images[: len(images) - len(ones)]])


CORRUPTIONS = (blur, noise, dropped_classes, imbalance)


@pytest.fixture(scope="module")
def fit_holdout_split(digit_images: TrainingImages) -> tuple[Images, Callable[..., Images]]:
    """Real images, and a function that corrupts equally many others."""
    images, labels = np.asarray(digit_images.images), digit_images.labels
    assert labels is not None
    return images[:256], lambda corruption, strength: corruption(images[256:], labels[256:], strength)


def frechet(real: Tensor, fake: Tensor) -> float:
    sides = [Moments(features.shape[1]) for features in (real, fake)]
    for moments, features in zip(sides, (real, fake), strict=True):
        moments.add(features)
    return frechet_distance(*sides)


def kernel(real: Tensor, fake: Tensor) -> float:
    return kernel_distance(real, fake).value


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("distance", [frechet, kernel])
def test_distances_grow_with_every_corruption(
    distance: Callable[[Tensor, Tensor], float],
    corruption: Callable[..., Images],
    fit_holdout_split: tuple[Images, Callable[..., Images]],
    features_of: Callable[[Images], Tensor],
) -> None:
    real, corrupted = fit_holdout_split
    values = [distance(features_of(real), features_of(corrupted(corruption, strength))) for strength in range(4)]
    assert values == sorted(values)
    assert values[0] < values[3] / 5, "real images against real ones score lowest"


@pytest.mark.parametrize("corruption", [blur, noise])
def test_the_patch_distance_grows_with_blur_and_noise(
    corruption: Callable[..., Images], fit_holdout_split: tuple[Images, Callable[..., Images]]
) -> None:
    real, corrupted = fit_holdout_split
    values = [sliced_wasserstein(real, corrupted(corruption, strength), limit=64).mean for strength in range(4)]
    assert values == sorted(values)
    assert values[0] < values[3] / 4, "real images against real ones score lowest"


def test_lost_variety_costs_recall_and_coverage_but_hardly_precision(
    fit_holdout_split: tuple[Images, Callable[..., Images]], features_of: Callable[[Images], Tensor]
) -> None:
    real, corrupted = fit_holdout_split
    scores = [prdc(features_of(real), features_of(corrupted(dropped_classes, strength))) for strength in range(4)]
    for metric in ("recall", "coverage"):
        values = [getattr(score, metric) for score in scores]
        assert values == sorted(values, reverse=True), metric
        assert values[3] < values[0] - 0.2, metric
    assert scores[3].precision > scores[0].precision - 0.1


def test_an_imbalance_costs_coverage(
    fit_holdout_split: tuple[Images, Callable[..., Images]], features_of: Callable[[Images], Tensor]
) -> None:
    """Every class remains, so recall hardly changes."""
    real, corrupted = fit_holdout_split
    even, skewed = (prdc(features_of(real), features_of(corrupted(imbalance, strength))) for strength in (0, 3))
    assert skewed.coverage < even.coverage - 0.2


def test_noise_costs_precision_and_density(
    fit_holdout_split: tuple[Images, Callable[..., Images]], features_of: Callable[[Images], Tensor]
) -> None:
    real, corrupted = fit_holdout_split
    clean, noisy = (prdc(features_of(real), features_of(corrupted(noise, strength))) for strength in (0, 3))
    assert noisy.precision < clean.precision - 0.3
    assert noisy.density < clean.density - 0.3


def test_memorised_digits_are_distinguished_from_new_ones(
    digit_images: TrainingImages, features_of: Callable[[Images], Tensor]
) -> None:
    features = features_of(digit_images.images)
    seen, held_out, fresh = features[:256], features[256:384], features[384:]
    from_held_out, _ = nearest_training_images(held_out, seen)
    distances, rows = nearest_training_images(features[:100], seen)
    assert rows.tolist() == list(range(100))
    copied = memorisation(distances, from_held_out)
    assert (copied.median_ratio, copied.copies) == (0, 1)
    assert copied.nearer == pytest.approx(1, abs=0.02)
    neutral = memorisation(nearest_training_images(fresh, seen)[0], from_held_out)
    assert neutral.nearer == pytest.approx(0.5, abs=0.1)
    assert neutral.median_ratio == pytest.approx(1, abs=0.15)
