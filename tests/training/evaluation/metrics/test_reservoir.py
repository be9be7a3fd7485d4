"""The reservoir is a bounded uniform sample that depends only on the stream."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.metrics.reservoir import Reservoir

STREAM = np.arange(100, dtype=np.int64)[:, None]


def sample_of(*batches: np.ndarray, capacity: int = 10, seed: int = 0) -> list[int]:
    reservoir = Reservoir(capacity, seed)
    for batch in batches:
        reservoir.add(batch)
    return [int(value) for value in reservoir.sample()[:, 0]]


def one_by_one(capacity: int, seed: int) -> list[int]:
    """Vitter 1985, algorithm R, literally."""
    random = np.random.RandomState(seed)
    kept: list[int] = []
    for index in range(len(STREAM)):
        slot = int(random.random_sample() * (index + 1))
        if index < capacity:
            kept.append(index)
        elif slot < capacity:
            kept[slot] = index
    return kept


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=8), seed=st.integers(0, 2**32 - 1))
def test_any_split_of_the_stream_keeps_the_same_rows(cuts: list[int], seed: int) -> None:
    assert sample_of(*np.split(STREAM, sorted(cuts)), seed=seed) == one_by_one(10, seed)


def test_every_row_is_as_likely_as_any_other() -> None:
    draws = 4000
    kept = np.bincount([row for seed in range(draws) for row in sample_of(STREAM, seed=seed)], minlength=len(STREAM))
    expected = draws * 10 / len(STREAM)
    spread = np.sqrt(expected * 0.9)
    assert np.abs(kept - expected).max() < 4.5 * spread
    assert ((kept - expected) ** 2).mean() < 1.6 * spread**2


def test_a_short_stream_is_held_whole_and_in_order() -> None:
    assert sample_of(STREAM[:4], STREAM[4:7]) == list(range(7))
    assert len(Reservoir(10, 0).sample()) == 0


def test_it_holds_no_more_than_its_capacity() -> None:
    reservoir = Reservoir(16, 0)
    for _ in range(50):
        reservoir.add(np.zeros((64, 2, 2, 3), np.uint8))
    assert reservoir.seen == 3200
    assert (reservoir.sample().shape, reservoir.sample().dtype) == ((16, 2, 2, 3), np.uint8)


@pytest.mark.parametrize("capacity", [10, 200])
def test_two_reservoirs_of_one_seed_keep_the_same_positions(capacity: int) -> None:
    """So features and images of one sample stay aligned."""
    features = torch.from_numpy(STREAM).float() * 2
    reservoir = Reservoir(capacity, 3)
    for batch in features.split(7):
        reservoir.add(batch)
    assert [value / 2 for value in reservoir.sample()[:, 0]] == sample_of(STREAM, capacity=capacity, seed=3)
