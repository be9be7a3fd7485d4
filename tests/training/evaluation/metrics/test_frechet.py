"""The Fréchet distance matches closed forms and the printed formula; its extrapolation removes the bias."""

import numpy as np
import pytest

from training.errors import TrainingError
from training.evaluation.metrics.frechet import (
    ExtrapolatedFrechet,
    extrapolated_distance,
    extrapolation_counts,
    frechet_distance,
)
from training.evaluation.metrics.moments import Moments


def gaussian(mean: np.ndarray, covariance: np.ndarray, count: int = 1000) -> Moments:
    """Moments with exactly this mean and covariance."""
    return Moments.from_arrays(
        {"count": np.array(count), "mean": np.asarray(mean, float), "scatter": np.asarray(covariance) * (count - 1)}
    )


def moments_of(features: np.ndarray) -> Moments:
    moments = Moments(features.shape[1])
    moments.add(features)
    return moments


def rotation(dimension: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.RandomState(3).randn(dimension, dimension))
    return q


def test_diagonal_gaussians_have_their_closed_form() -> None:
    """|μ₁ - μ₂|² + Σ (σ₁ - σ₂)², where the covariances commute."""
    a = gaussian([0, 0, 1], np.diag([1.0, 4, 9]))
    b = gaussian([1, -2, 1], np.diag([4.0, 4, 1]))
    assert frechet_distance(a, b) == pytest.approx((1 + 4 + 0) + (1 + 0 + 4), rel=1e-12)


def test_a_common_rotation_changes_nothing() -> None:
    q = rotation(3)
    a = gaussian(q @ [0, 0, 1], q @ np.diag([1.0, 4, 9]) @ q.T)
    b = gaussian(q @ [1, -2, 1], q @ np.diag([4.0, 4, 1]) @ q.T)
    assert frechet_distance(a, b) == pytest.approx(10, rel=1e-10)


def test_gaussians_in_the_plane_turned_against_each_other() -> None:
    """In two dimensions tr (Σ₁Σ₂)^½ = sqrt(tr Σ₁Σ₂ + 2 sqrt(det Σ₁Σ₂)): covariances that do not commute."""
    first, angle = np.diag([9.0, 1.0]), 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    second = turn @ np.diag([4.0, 0.25]) @ turn.T
    product = first @ second
    root_trace = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(first) + np.trace(second) - 2 * root_trace
    assert frechet_distance(gaussian([0, 0], first), gaussian([0, 0], second)) == pytest.approx(expected, rel=1e-12)


def test_it_matches_the_printed_formula() -> None:
    """Heusel et al. 2017, equation 6, with the root of the product taken by its eigenvectors."""
    random = np.random.RandomState(0)
    a = random.randn(500, 16) @ random.randn(16, 16)
    b = random.randn(700, 16) @ random.randn(16, 16) + 0.5
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eig(first @ second)
    root = vectors @ np.diag(np.sqrt(values.astype(complex))) @ np.linalg.inv(vectors)
    shift = a.mean(axis=0) - b.mean(axis=0)
    expected = shift @ shift + np.trace(first + second - 2 * root.real)
    assert frechet_distance(moments_of(a), moments_of(b)) == pytest.approx(expected, rel=1e-9)


def test_it_is_symmetric_and_zero_on_the_diagonal() -> None:
    random = np.random.RandomState(0)
    a, b = moments_of(random.randn(100, 8)), moments_of(random.randn(100, 8) * 2)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-10)
    assert 0 <= frechet_distance(a, a) < 1e-10


def test_constant_features_do_not_change_the_distance() -> None:
    """A ReLU that is always 0 makes both covariances singular."""
    random = np.random.RandomState(0)
    a, b = random.randn(200, 6), random.randn(200, 6)
    padded = [np.pad(features, ((0, 0), (0, 3))) for features in (a, b)]
    expected = frechet_distance(moments_of(a), moments_of(b))
    assert frechet_distance(*(moments_of(features) for features in padded)) == pytest.approx(expected, rel=1e-6)


def test_negative_eigenvalues_from_rounding_are_clamped() -> None:
    """Covariances of rank one, as of a collapsed generator, in a space of many dimensions."""
    q = rotation(16)
    a, b = (gaussian(np.zeros(16), scale * np.outer(q[0], q[0])) for scale in (1.0, 9.0))
    assert frechet_distance(a, b) == pytest.approx((1 - 3) ** 2, rel=1e-5)
    assert frechet_distance(a, gaussian(np.zeros(16), np.outer(q[1], q[1]))) == pytest.approx(2, rel=1e-5)


def test_too_few_images_and_other_dimensions_are_rejected() -> None:
    good = moments_of(np.random.RandomState(0).randn(50, 8))
    few = moments_of(np.random.RandomState(0).randn(8, 8))
    for pair in ((good, few), (few, good)):
        with pytest.raises(TrainingError, match="8 features needs more than 8 images on each side, not 8"):
            frechet_distance(*pair)
    with pytest.raises(TrainingError, match="of 8 and of 4 dimensions"):
        frechet_distance(good, moments_of(np.random.RandomState(0).randn(50, 4)))


def test_the_extrapolation_is_the_line_through_the_points() -> None:
    counts = [100, 200, 400, 800]
    exact = extrapolated_distance(counts, [3 + 50 / n for n in counts])
    assert (exact.value, exact.slope) == (pytest.approx(3), pytest.approx(50))
    assert exact.residual == pytest.approx(0, abs=1e-12)
    bent = [3 + 50 / n + (0.1 if index % 2 else -0.1) for index, n in enumerate(counts)]
    slope, value = np.polyfit(1 / np.array(counts), bent, 1)
    fit = extrapolated_distance(counts, bent)
    assert (fit.value, fit.slope) == (pytest.approx(value), pytest.approx(slope))
    assert fit.residual == pytest.approx(
        np.sqrt(np.mean((np.polyval([slope, value], 1 / np.array(counts)) - bent) ** 2))
    )
    with pytest.raises(TrainingError, match="3 or more counts of images, not 2"):
        extrapolated_distance([100, 200, 200], [1, 2, 3])


def test_the_extrapolation_comes_nearer_to_the_truth_than_any_of_its_points() -> None:
    """Same distribution on both sides, the reference's moments exact: the true distance is 0."""
    dimension, total = 16, 2000
    reference = gaussian(np.zeros(dimension), np.eye(dimension))
    stream = ExtrapolatedFrechet(reference, extrapolation_counts(total, dimension))
    for batch in np.array_split(np.random.RandomState(0).randn(total, dimension), 13):
        stream.add(batch)
    result = stream.result()
    assert list(result.distances) == sorted(result.distances, reverse=True), "biased upwards, the more so the fewer"
    assert abs(result.value) < result.distances[-1] / 4
    assert 0 < result.residual < result.distances[0] / 10


def test_a_stream_measures_its_prefixes_for_any_batches() -> None:
    features = np.random.RandomState(0).randn(100, 4)
    reference = moments_of(np.random.RandomState(1).randn(100, 4))
    expected = [frechet_distance(reference, moments_of(features[:count])) for count in (20, 50, 90)]
    for parts in (1, 3, 100):
        stream = ExtrapolatedFrechet(reference, (20, 50, 90))
        for batch in np.array_split(features, parts):
            stream.add(batch)
        assert stream.result().distances == pytest.approx(expected, rel=1e-8)
        assert stream.moments.count == 100, "the rest of the stream counts in the moments"
        np.testing.assert_allclose(stream.moments.mean, features.mean(axis=0))


def test_a_stream_that_ends_early_is_rejected() -> None:
    stream = ExtrapolatedFrechet(moments_of(np.random.RandomState(0).randn(50, 2)), (10, 20, 30))
    stream.add(np.random.RandomState(1).randn(25, 2))
    with pytest.raises(TrainingError, match="needs 30 generated images, and got 25"):
        stream.result()


def test_counts_stay_above_twice_the_dimension() -> None:
    assert extrapolation_counts(10_000, 64) == (1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10_000)
    assert extrapolation_counts(256, 64)[0] == 128
    with pytest.raises(TrainingError, match="64 features needs at least 256 generated images, not 255"):
        extrapolation_counts(255, 64)
