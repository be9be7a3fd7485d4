"""``data.balance`` shows every label equally often, every image of a label once a pass, from any position on."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.config.files import load_config
from training.data.balance import BalancedOrder
from training.data.cache import datasets_folder
from training.data.checks import check_data, warn_uneven_labels
from training.data.dataset import TrainingImages, load_images
from training.data.loader import BatchLoader
from training.errors import TrainingError
from training.parallel.distributed import Processes

CPU = torch.device("cpu")
BALANCED = load_config("digits", ["data.balance=true"])

some_labels = st.lists(st.integers(0, 6), min_size=1, max_size=40).map(lambda values: np.array(values, dtype=np.int64))


@given(labels=some_labels, seed=st.integers(0, 9), start=st.integers(0, 300), count=st.integers(1, 60))
def test_the_balanced_order_can_start_anywhere(labels: np.ndarray, seed: int, start: int, count: int) -> None:
    whole = BalancedOrder(labels, seed).indices(0, start + count)
    np.testing.assert_array_equal(BalancedOrder(labels, seed).indices(start, count), whole[start:])


@given(labels=some_labels, seed=st.integers(0, 9))
def test_every_round_has_every_label_and_every_pass_every_image(labels: np.ndarray, seed: int) -> None:
    used, counts = np.unique(labels, return_counts=True)
    order = BalancedOrder(labels, seed).indices(0, len(used) * 2 * int(counts.max()))
    for images in order.reshape(-1, len(used)):
        assert sorted(labels[images]) == used.tolist(), "every label once a round"
    for label, count in zip(used, counts, strict=True):
        mine = order[labels[order] == label]
        for images in mine[: len(mine) // count * count].reshape(-1, count):
            assert sorted(images) == np.flatnonzero(labels == label).tolist(), "every image of a label once a pass"


def test_labels_and_images_are_shuffled_and_follow_the_seed() -> None:
    labels = np.repeat(np.arange(5), 20)
    one, other = (BalancedOrder(labels, seed).indices(0, 500) for seed in (0, 1))
    assert not np.array_equal(one, other)
    rounds = {tuple(labels[images]) for images in one.reshape(-1, 5)}
    assert len(rounds) > 30, "the order of labels differs from round to round"
    passes = one[labels[one] == 0].reshape(-1, 20)
    assert not any(np.array_equal(first, second) for first, second in itertools.pairwise(passes))


def uneven(labels: list[int], names: tuple[str, ...] = ("cat", "dog")) -> TrainingImages:
    pixels = np.random.default_rng(0).integers(0, 255, (len(labels), 32, 32, 1), dtype=np.uint8)
    return TrainingImages("some", "0" * 64, pixels, np.array(labels, dtype=np.int64), names)


def test_processes_share_a_balanced_batch() -> None:
    data = uneven([0] * 95 + [1] * 5)
    with BatchLoader(data, 2, 3, 32, Processes(0, 1, CPU), balance=True) as one:
        whole, label = one.take(64)
    assert label is not None
    assert label.bincount().tolist() == [16, 16]
    shares = []
    for rank in range(4):
        with BatchLoader(data, 2, 3, 32, Processes(rank, 4, CPU), balance=True) as feed:
            shares.append(feed.take(64)[0])
    assert torch.equal(torch.cat(shares), whole)


def test_images_need_no_new_decoding(digits: Path) -> None:
    load_images(str(digits), load_config("digits").data)
    before = sorted(datasets_folder().iterdir())
    load_images(str(digits), BALANCED.data)
    assert sorted(datasets_folder().iterdir()) == before


def test_balance_without_labels_is_rejected() -> None:
    data = TrainingImages("some", "0" * 64, uneven([0] * 64).images, None, None)
    config = BALANCED.model_copy(update={"conditional": False})
    with pytest.raises(TrainingError, match=r"every label equally often, but the data has no labels; put the images"):
        check_data(config, data)


def test_uneven_labels_are_reported_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    data = uneven([0] * 2261 + [1] * 5)
    warn_uneven_labels(load_config("digits"), data)
    assert capsys.readouterr().err == (
        "labels are uneven: 'cat' has 2261 images, 'dog' 5 images and is seen 452 times less often: "
        "--set data.balance=true draws all labels equally often\n"
    )
    warn_uneven_labels(BALANCED, data)
    assert "data.balance shows each of those 452 times as often, so expect copies of them" in capsys.readouterr().err


@pytest.mark.parametrize(("labels", "settings"), [([0] * 99 + [1] * 10, []), ([0] * 200 + [1], ["conditional=false"])])
def test_even_labels_and_unconditional_runs_are_no_news(
    labels: list[int], settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    warn_uneven_labels(load_config("digits", settings), uneven(labels))
    assert capsys.readouterr().err == ""
