"""Mean and covariance of a stream do not depend on its batches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.errors import TrainingError
from training.evaluation.metrics.moments import Moments, check_enough

FEATURES = np.random.RandomState(0).randn(60, 4) * [1, 10, 0.1, 3] + [0, 100, -5, 1]


def moments_of(*batches: np.ndarray) -> Moments:
    moments = Moments(FEATURES.shape[1])
    for batch in batches:
        moments.add(batch)
    return moments


def assert_whole(moments: Moments) -> None:
    assert moments.count == len(FEATURES)
    np.testing.assert_allclose(moments.mean, FEATURES.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(FEATURES, rowvar=False), rtol=1e-10, atol=1e-12)


@given(cuts=st.lists(st.integers(0, len(FEATURES)), max_size=8))
def test_any_split_of_the_stream_gives_the_whole(cuts: list[int]) -> None:
    """Empty batches and single images included."""
    assert_whole(moments_of(*np.split(FEATURES, sorted(cuts))))


@given(first=st.integers(0, len(FEATURES)), second=st.integers(0, len(FEATURES)), left_first=st.booleans())
def test_merging_is_associative(first: int, second: int, left_first: bool) -> None:
    a, b, c = (moments_of(part) for part in np.split(FEATURES, sorted([first, second])))
    if left_first:
        a.merge(b)
        a.merge(c)
    else:
        b.merge(c)
        a.merge(b)
    assert_whole(a)


def test_order_does_not_matter() -> None:
    assert_whole(moments_of(*np.array_split(FEATURES[::-1], 7)))


def test_a_mean_far_from_zero_does_not_cancel_the_covariance() -> None:
    """A sum of squares would lose all digits here."""
    spread = np.random.RandomState(1).randn(1000, 3)
    moments = Moments(3)
    for batch in np.split(spread + 1e8, 10):
        moments.add(batch)
    np.testing.assert_allclose(moments.covariance, np.cov(spread, rowvar=False), rtol=1e-6, atol=1e-6)


def test_float32_features_are_summed_in_float64() -> None:
    features = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0)) + 1000
    moments = Moments(2)
    for batch in features.split(64):
        moments.add(batch)
    np.testing.assert_allclose(moments.covariance, np.cov(features.double().numpy(), rowvar=False), rtol=1e-9)


def test_arrays_hold_the_whole_state(tmp_path) -> None:
    before = moments_of(FEATURES[:40])
    np.savez(tmp_path / "moments.npz", **before.arrays())
    with np.load(tmp_path / "moments.npz") as arrays:
        after = Moments.from_arrays(dict(arrays))
    before.add(FEATURES[40:])
    after.add(FEATURES[40:])
    assert_whole(after)
    np.testing.assert_array_equal(after.covariance, before.covariance)


def test_returned_arrays_are_copies() -> None:
    moments = moments_of(FEATURES)
    moments.mean[:] = 0
    for array in moments.arrays().values():
        array[...] = 0
    assert_whole(moments)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_named(value: float) -> None:
    broken = FEATURES.copy()
    broken[17, 2] = value
    with pytest.raises(TrainingError, match=f"column 2 of row 17 is {value}"):
        moments_of(broken)


@pytest.mark.parametrize("features", [np.zeros(4), np.zeros((2, 2, 2)), np.zeros((3, 4), dtype=np.int64)])
def test_other_arrays_than_float_matrices_are_rejected(features: np.ndarray) -> None:
    with pytest.raises(TrainingError, match=r"floats of shape \[images, dimensions\]"):
        moments_of(features)


def test_another_dimension_is_rejected() -> None:
    with pytest.raises(TrainingError, match="of 4 and of 5 dimensions"):
        moments_of(np.zeros((3, 5)))
    with pytest.raises(TrainingError, match="of 4 and of 2 dimensions"):
        moments_of(FEATURES).merge(Moments(2))


def test_too_few_images_are_rejected() -> None:
    with pytest.raises(TrainingError, match="at least 2 images, not 1"):
        _ = moments_of(FEATURES[:1]).covariance
    check_enough(65, 64)
    with pytest.raises(TrainingError, match="more than 64 images on each side, not 64"):
        check_enough(64, 64)
