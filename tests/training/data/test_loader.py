"""The data comes in an order that starts anywhere, whole passes at a time, and shared out without overlap."""

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.config.files import load_config
from training.data.dataset import load_images
from training.data.loader import BatchLoader, batch_indices
from training.parallel.distributed import Processes

CPU = torch.device("cpu")


@given(size=st.integers(1, 50), seed=st.integers(0, 9), start=st.integers(0, 200), count=st.integers(1, 60))
def test_the_order_of_images_can_start_anywhere(size: int, seed: int, start: int, count: int) -> None:
    whole = batch_indices(size, seed, 0, start + count)
    np.testing.assert_array_equal(batch_indices(size, seed, start, count), whole[start:])
    for epoch in range((start + count) // size):
        assert sorted(whole[epoch * size : (epoch + 1) * size]) == list(range(size)), "every image once a pass"


def test_a_batch_read_ahead_equals_one_read_on_demand(digits: Path) -> None:
    config = load_config("digits")
    data = load_images(str(digits), config.data)
    with BatchLoader(data, 10, 0, 32, Processes(0, 1, CPU)) as prefetched:
        for seen in (0, 32, 64, 512, 544):  # 512 is not what was read ahead after 64
            reals, label = prefetched.take(seen)
            with BatchLoader(data, 10, 0, 32, Processes(0, 1, CPU)) as fresh:
                expected, expected_label = fresh.take(seen)
            assert torch.equal(reals, expected)
            assert label is not None
            assert expected_label is not None
            assert torch.equal(label, expected_label)
    assert reals.shape == (32, 1, 32, 32)
    assert (reals.min(), reals.max()) == (-1, 1)
    assert reals.is_contiguous(memory_format=torch.channels_last)


def test_processes_share_a_batch_in_order(digits: Path) -> None:
    config = load_config("digits")
    data = load_images(str(digits), config.data)
    with BatchLoader(data, 10, 3, 32, Processes(0, 1, CPU)) as one:
        whole, _ = one.take(64)
    shares = []
    for rank in range(4):
        with BatchLoader(data, 10, 3, 32, Processes(rank, 4, CPU)) as feed:
            shares.append(feed.take(64)[0])
    assert torch.equal(torch.cat(shares), whole)
