"""The table compares equally many images, however many were generated, and tells copies in data with doubles."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.evaluation.metrics.moments import Moments
from training.evaluation.metrics.neighbours import memorisation, nearest_training_images, prdc
from training.evaluation.metrics.table import METRICS, Gathered, RealImages, compute_scores

DIMENSION = 32


class Points:
    """Real images that are nothing but features."""

    held_out_distances: Tensor | None = None

    def __init__(self, features: NDArray[np.float32]) -> None:
        self.real_features = features
        self.moments = Moments(features.shape[1])
        self.moments.add(features)


def gathered(real: NDArray[np.float32], generated: NDArray[np.float32]) -> Gathered:
    moments = Moments(generated.shape[1])
    moments.add(generated)
    return Gathered(cast(RealImages, Points(real)), moments, generated)


def normal(count: int, seed: int, shift: float = 0) -> NDArray[np.float32]:
    points: NDArray[Any] = np.random.RandomState(seed).randn(count, DIMENSION)
    points[:, 0] += shift
    return points.astype(np.float32)


def test_a_small_set_is_not_covered_by_the_number_of_generated_images() -> None:
    """Ten thousand points three deviations away come near to nine in ten of a thousand; a thousand, to half."""
    real, far = normal(1000, 0), normal(10_000, 1, shift=3)
    assert prdc(real, far).coverage > 0.85
    assert compute_scores(gathered(real, far), METRICS)["coverage"] == pytest.approx(0.52, abs=0.03)
    assert compute_scores(gathered(real, far), METRICS) | {"fxd": 0} == compute_scores(
        gathered(real, far[:1000]), METRICS
    ) | {"fxd": 0}, "the first of them, and no more"


def test_copies_are_left_out_if_nothing_is_held_out() -> None:
    scores = compute_scores(gathered(normal(200, 0), normal(200, 1)), METRICS)
    assert not {"copies", "nearest_ratio"} & scores.keys()
    assert {"precision", "kernel_distance"} <= scores.keys()


def test_copies_are_told_in_data_where_every_tenth_image_is_a_double() -> None:
    training = torch.from_numpy(normal(900, 0))
    held_out = torch.cat([training[:20], torch.from_numpy(normal(180, 1))])
    distances = nearest_training_images(held_out, training)[0]
    assert memorisation(nearest_training_images(training[400:600], training)[0], distances).copies == 1
    assert memorisation(distances, distances).copies == pytest.approx(0.1), "as many as there are doubles"
