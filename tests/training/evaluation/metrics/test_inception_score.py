"""The Inception Score is 1 for a collapsed generator, K for a perfect one, and matches its formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import TrainingError
from training.evaluation.metrics.estimate import Estimate
from training.evaluation.metrics.inception_score import InceptionScore

CLASSES = 5


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


PROBABILITIES = softmax(3 * np.random.RandomState(0).randn(47, CLASSES))


def score_of(*batches: np.ndarray, splits: int = 10) -> Estimate:
    score = InceptionScore(total=sum(len(batch) for batch in batches), splits=splits)
    for batch in batches:
        score.add(batch)
    return score.score()


def naive(probabilities: np.ndarray, splits: int) -> tuple[float, float]:
    """Salimans et al. 2016, section 4, image by image."""
    scores = []
    count = len(probabilities)
    for split in range(splits):
        part = probabilities[count * split // splits : count * (split + 1) // splits]
        marginal = part.mean(axis=0)
        divergences = [sum(p * np.log(p / q) for p, q in zip(row, marginal, strict=True) if p > 0) for row in part]
        scores.append(np.exp(np.mean(divergences)))
    return float(np.mean(scores)), float(np.std(scores))


def test_images_without_a_recognisable_class_score_one() -> None:
    assert score_of(np.full((40, CLASSES), 1 / CLASSES)) == pytest.approx((1, 0))


def test_a_single_certain_class_scores_one() -> None:
    assert score_of(np.tile(np.eye(CLASSES)[2], (40, 1))) == pytest.approx((1, 0))


def test_certain_classes_of_equal_frequency_score_their_number() -> None:
    assert score_of(np.tile(np.eye(CLASSES), (20, 1))) == pytest.approx((CLASSES, 0))


@pytest.mark.parametrize("splits", [1, 3, 10])
def test_it_matches_the_printed_formula(splits: int) -> None:
    """Also if the images cannot be split evenly."""
    assert score_of(PROBABILITIES, splits=splits) == pytest.approx(naive(PROBABILITIES, splits), rel=1e-9)


@given(cuts=st.lists(st.integers(0, len(PROBABILITIES)), max_size=8))
def test_any_split_of_the_stream_gives_the_same(cuts: list[int]) -> None:
    assert score_of(*np.split(PROBABILITIES, sorted(cuts))) == pytest.approx(naive(PROBABILITIES, 10), rel=1e-9)


def test_in_one_split_order_does_not_matter() -> None:
    assert score_of(PROBABILITIES[::-1], splits=1) == pytest.approx(score_of(PROBABILITIES, splits=1), rel=1e-9)


def test_bad_input_is_rejected() -> None:
    with pytest.raises(TrainingError, match="10 splits needs at least 20 images, not 19"):
        InceptionScore(19)
    score = InceptionScore(total=20)
    with pytest.raises(TrainingError, match="sum to 1"):
        score.add(np.full((2, 3), 0.5))
    with pytest.raises(TrainingError, match="at least 0"):
        score.add(np.array([[1.5, -0.5]]))
    with pytest.raises(TrainingError, match="class probabilities must be finite, but column 0 of row 0 is nan"):
        score.add(np.array([[np.nan, 1.0]]))
    score.add(PROBABILITIES[:19])
    with pytest.raises(TrainingError, match="of 2 classes follow probabilities of 5"):
        score.add(np.array([[0.5, 0.5]]))
    with pytest.raises(TrainingError, match="needs 20 images, and got 19"):
        score.score()
    with pytest.raises(TrainingError, match="takes 20 images, and got more"):
        score.add(PROBABILITIES[:2])
