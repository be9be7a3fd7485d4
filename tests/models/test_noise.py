"""A seed gives the same noise everywhere and always."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.noise import MAX_SEED, labels_for_seeds, noise_for_seeds

seeds_strategy = st.lists(st.integers(0, MAX_SEED), max_size=5)


def test_the_stream_is_stylegans() -> None:
    golden = [0.49671414494514465, -0.13826429843902588, 0.6476885676383972]  # StyleGAN's seed 42
    assert noise_for_seeds([42], 3)[0].tolist() == pytest.approx(golden, abs=0)


@given(seeds=seeds_strategy, noise_dim=st.integers(1, 33))
def test_every_seed_is_independent_of_earlier_seeds(seeds: list[int], noise_dim: int) -> None:
    noise = noise_for_seeds(seeds, noise_dim)
    assert noise.shape == (len(seeds), noise_dim)
    assert noise.dtype == np.float32
    for row, seed in zip(noise, seeds, strict=True):
        np.testing.assert_array_equal(row, np.random.RandomState(seed).randn(noise_dim).astype(np.float32))


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_a_seed_out_of_range_is_rejected(seed: int) -> None:
    with pytest.raises(ValueError, match="between 0 and"):
        noise_for_seeds([seed], 4)


def test_threads_do_not_disturb_each_other() -> None:
    results: dict[int, np.ndarray] = {}

    def draw(seed: int) -> None:
        for _ in range(200):
            results[seed] = noise_for_seeds([seed] * 3, 63)

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, noise in results.items():
        np.testing.assert_array_equal(noise, noise_for_seeds([seed] * 3, 63))


def test_a_seeds_default_label_is_its_remainder() -> None:
    assert labels_for_seeds([0, 9, 10, MAX_SEED], 10).tolist() == [0, 9, 0, 5]
