"""The kernel distance is the paper's unbiased estimate, and averages 0 on equal distributions."""

import numpy as np
import pytest
import torch

from training.errors import TrainingError
from training.evaluation.metrics.kernel import kernel_distance, unbiased_mmd2


def naive_mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """Gretton et al. 2012, equation 3, by double loops."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3)

    m, n = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    within_y = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    between = sum(kernel(x[i], y[j]) for i in range(m) for j in range(n)) / (m * n)
    return within_x + within_y - 2 * between


def test_it_is_the_formula_on_the_subsets_that_its_seed_draws() -> None:
    random = np.random.RandomState(0)
    x, y = random.randn(40, 3), random.randn(30, 3) + 0.4
    draws = np.random.RandomState(7)
    expected = []
    for _ in range(4):
        first = draws.choice(40, 10, replace=False)
        expected.append(naive_mmd2(x[first], y[draws.choice(30, 10, replace=False)]))
    value, deviation = kernel_distance(x, y, subsets=4, size=10, seed=7)
    assert value == pytest.approx(np.mean(expected), rel=1e-4)
    assert deviation == pytest.approx(np.std(expected), rel=1e-4)


def test_over_all_pairs_it_is_the_formula() -> None:
    random = np.random.RandomState(0)
    x, y = random.randn(12, 3), random.randn(12, 3) + 0.4
    assert unbiased_mmd2(x, y) == pytest.approx(naive_mmd2(x, y), rel=1e-4)
    with pytest.raises(TrainingError, match="equally many images a side, not 12 and 11"):
        unbiased_mmd2(x, y[:11])


def test_equal_distributions_score_zero_at_any_size() -> None:
    """Unbiased: the mean over many pairs of sets is 0 within its own error, below 0 as often as above."""
    random = np.random.RandomState(0)
    for count in (8, 64):
        values = np.array(
            [kernel_distance(random.randn(count, 4), random.randn(count, 4), subsets=1).value for _ in range(600)]
        )
        assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
        assert (values < 0).mean() > 0.3


def test_small_sets_give_subsets_that_still_differ() -> None:
    random = np.random.RandomState(0)
    x, y = random.randn(20, 3), random.randn(20, 3)
    assert kernel_distance(x, y).deviation > 0.01


def test_only_the_seed_matters() -> None:
    x, y = torch.randn(100, 4), torch.randn(100, 4)
    assert kernel_distance(x, y, seed=1) == kernel_distance(x, y, seed=1)
    assert kernel_distance(x, y, seed=1) != kernel_distance(x, y, seed=2)


def test_bad_input_is_rejected() -> None:
    good = torch.randn(10, 4)
    with pytest.raises(TrainingError, match="at least 4 generated images, not 3"):
        kernel_distance(good, good[:3])
    with pytest.raises(TrainingError, match="of 4 and of 2 dimensions"):
        kernel_distance(good, good[:, :2])
    with pytest.raises(TrainingError, match="real features must be finite, but column 1 of row 0 is nan"):
        kernel_distance(torch.full((9, 4), 0.0).index_fill(1, torch.tensor([1]), torch.nan), good)
